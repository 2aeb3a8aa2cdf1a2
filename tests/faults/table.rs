//! The table of all faults in `docs/RELIABILITY.md`: written from the kept figures, and compared with them.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use crate::{
    amount::Amount,
    figures::{Figure, Side, kept},
};

const BEGIN: &str = "<!-- figures: written by scripts/faults --record -->";
const END: &str = "<!-- end of figures -->";

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/RELIABILITY.md")
}

/// The worst of all runs per figure, in order of faults.
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
    rows.sort_by_key(|(row, _)| (number(&row.fault), row.what.clone(), row.name.clone()));
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

/// One row for each figure, grouped by fault; what holds after every fault has a table of its own.
fn render() -> String {
    let (always, own): (Vec<_>, Vec<_>) = worst().into_iter().partition(|(row, _)| row.always);
    format!(
        "{}\nAfter every fault, once it is over:\n\n{}",
        table("figure", &own),
        table("what holds", &always)
    )
}

fn table(figure: &str, rows: &[(Figure, usize)]) -> String {
    let mut text = format!("| fault | {figure} | bound | measured (worst) | of |\n| --- | --- | --- | --- | --- |\n");
    for (row, runs) in rows {
        let (title, bound) = (title(row), promise(row.side, row.bound));
        writeln!(text, "| {title} | {} | {bound} | {} | {runs} |", row.name, row.measured).unwrap();
    }
    text
}

fn title(row: &Figure) -> String {
    format!("**{}** {}", row.fault, row.what)
}

/// The rows of tables without what was measured: fault, figure, bound.
fn shape(text: &str) -> BTreeSet<String> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| **F")).map(cells);
    rows.map(|cells| cells.iter().skip(1).take(3).cloned().collect::<Vec<_>>().join(" | "))
        .collect()
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
/// the suite. A few faults have another size in a debug build, and say so in their names.
#[test]
#[ignore = "needs the figures of a whole run of this suite"]
fn the_document_has_every_figure() {
    let (documented, measured) = (shape(&fs::read_to_string(document()).unwrap()), shape(&render()));
    let undocumented = measured
        .difference(&documented)
        .filter(|row| !row.contains("debug build"));
    let unmeasured = documented
        .difference(&measured)
        .filter(|row| !row.contains("release build"));
    let (undocumented, unmeasured): (Vec<_>, Vec<_>) = (undocumented.collect(), unmeasured.collect());
    assert!(
        undocumented.is_empty() && unmeasured.is_empty(),
        "docs/RELIABILITY.md is not of this suite (run scripts/faults --record):\n\
         it lacks {undocumented:#?}\nnobody measured {unmeasured:#?}"
    );
}
