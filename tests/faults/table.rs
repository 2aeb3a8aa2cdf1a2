//! The table of all faults in `docs/RELIABILITY.md`: written from the kept figures, and compared with them.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use crate::{
    amount::Amount,
    figures::{Figure, Side, kept},
};

const BEGIN: &str = "<!-- figures: written by scripts/faults --record -->";
const END: &str = "<!-- end of figures -->";

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/RELIABILITY.md")
}

/// The worst of all runs per figure, in order of faults and, within a fault, as they were first measured.
fn worst() -> Vec<(Figure, usize)> {
    let text = fs::read_to_string(kept()).expect("figures: run the fault suite first");
    let mut rows: Vec<(Figure, usize)> = Vec::new();
    for line in text.lines() {
        let figure: Figure = serde_json::from_str(line).unwrap();
        let known = rows.iter_mut().find(|(row, _)| is_same(row, &figure));
        match known {
            None => rows.push((figure, 1)),
            Some((row, runs)) => {
                *runs += 1;
                let worse = match row.side {
                    Side::AtMost | Side::Exactly => figure.measured > row.measured,
                    Side::AtLeast => figure.measured < row.measured,
                };
                if worse {
                    row.measured = figure.measured;
                }
            }
        }
    }
    rows.sort_by_key(|(row, _)| number(&row.fault));
    rows
}

fn is_same(one: &Figure, other: &Figure) -> bool {
    (&one.fault, &one.what, &one.name) == (&other.fault, &other.what, &other.name)
}

fn number(fault: &str) -> u32 {
    fault.trim_start_matches('F').parse().unwrap_or(u32::MAX)
}

fn promise(side: Side, bound: Amount) -> String {
    match side {
        Side::AtMost => format!("≤ {bound}"),
        Side::AtLeast => format!("≥ {bound}"),
        Side::Exactly => format!("{bound}"),
    }
}

fn render() -> String {
    let mut text = "| fault | figure | bound | measured (worst) | of |\n| --- | --- | --- | --- | --- |\n".to_owned();
    let mut last = String::new();
    for (row, runs) in worst() {
        let fault = format!("**{}** {}", row.fault, row.what);
        let shown = if fault == last { "" } else { &fault };
        writeln!(
            text,
            "| {shown} | {} | {} | {} | {runs} |",
            row.name,
            promise(row.side, row.bound),
            row.measured
        )
        .unwrap();
        last = fault;
    }
    text
}

/// Not a test: `scripts/faults --record` calls it after its runs.
#[test]
#[ignore = "rewrites docs/RELIABILITY.md from the figures that were kept"]
fn write_the_table() {
    let text = fs::read_to_string(document()).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark before the figures");
    let (_, after) = rest.split_once(END).expect("the mark after the figures");
    fs::write(document(), format!("{before}{BEGIN}\n\n{}\n{END}{after}", render())).unwrap();
}

/// Every figure that was asserted stands in the document with the same bound, and no other. `scripts/test` calls it after
/// the suite.
#[test]
#[ignore = "needs the figures of a whole run of this suite"]
fn the_document_has_every_figure() {
    let text = fs::read_to_string(document()).unwrap();
    let mut documented: BTreeMap<String, usize> = BTreeMap::new();
    let mut fault = String::new();
    for line in text
        .lines()
        .skip_while(|line| !line.contains(BEGIN))
        .take_while(|line| !line.contains(END))
    {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let [_, first, figure, bound, _, _, _] = cells.as_slice() {
            if !first.is_empty() {
                fault = (*first).to_owned();
            }
            *documented.entry(format!("{fault}: {figure}: {bound}")).or_default() += 1;
        }
    }
    for (row, _) in worst()
        .into_iter()
        .filter(|(row, _)| !row.what.ends_with(", debug build"))
    {
        let wanted = format!(
            "**{}** {}: {}: {}",
            row.fault,
            row.what,
            row.name,
            promise(row.side, row.bound)
        );
        assert!(
            documented.remove(&wanted).is_some(),
            "docs/RELIABILITY.md lacks `{wanted}`: run scripts/faults --record"
        );
    }
    // What only a release build measures is missing after a debug run, and the reverse.
    let elsewhere = if cfg!(debug_assertions) {
        ", release build: "
    } else {
        ", debug build: "
    };
    documented.retain(|line, _| line.starts_with("**F") && !line.contains(elsewhere));
    assert!(
        documented.is_empty(),
        "docs/RELIABILITY.md has what nobody measures: {documented:?}"
    );
}
