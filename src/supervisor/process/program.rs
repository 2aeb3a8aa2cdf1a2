//! Says in words why a program could not be started.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use crate::supervisor::{Command, state::ExitKind};

/// Why `command` could not be started, given the system's error number and the `PATH` it would have had; and whether
/// trying again soon makes sense.
pub(super) fn explain(command: &Command, path: Option<&str>, errno: i32) -> (String, ExitKind) {
    let program = &command.program;
    let errno = Errno::from_raw(errno);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the system has a hundred error numbers")]
    match errno {
        Errno::ENOENT => (not_found(command, path), ExitKind::Misconfigured),
        Errno::EACCES | Errno::EPERM => (
            format!("`{program}` may not be executed: permission denied"),
            ExitKind::Misconfigured,
        ),
        Errno::ENOEXEC => (
            format!("`{program}` is not an executable: exec format error (a script needs a first line `#!…`)"),
            ExitKind::Misconfigured,
        ),
        Errno::ENOTDIR | Errno::EISDIR | Errno::ELOOP | Errno::ENAMETOOLONG | Errno::E2BIG => (
            format!("`{program}` cannot be executed: {}", errno.desc()),
            ExitKind::Misconfigured,
        ),
        errno => (
            format!("`{program}` could not be started: {}", errno.desc()),
            ExitKind::Failure,
        ),
    }
}

/// The working folder, if it is the reason why nothing can be started.
pub(super) fn missing_folder(command: &Command) -> Option<String> {
    let cwd = command.cwd.as_deref()?;
    (!cwd.is_dir()).then(|| format!("its working folder `{}` is no folder", cwd.display()))
}

fn not_found(command: &Command, path: Option<&str>) -> String {
    let program = &command.program;
    if program.contains('/') {
        let file = match &command.cwd {
            Some(cwd) => cwd.join(program),
            None => PathBuf::from(program),
        };
        return match interpreter(&file) {
            Some(interpreter) => format!("`{program}` needs `{interpreter}`, which was not found"),
            None => format!("`{}` was not found", file.display()),
        };
    }
    let Some(path) = path else {
        return format!("`{program}` was not found: PATH is not set");
    };
    let found = path.split(':').map(|dir| Path::new(dir).join(program));
    for file in found {
        if let Some(interpreter) = interpreter(&file) {
            let file = file.display();
            return format!("`{file}` needs `{interpreter}`, which was not found");
        }
    }
    format!("`{program}` was not found; searched PATH {path}")
}

/// The first line `#!…` of a script: what the system really could not find.
fn interpreter(file: &Path) -> Option<String> {
    let mut head = String::new();
    fs::File::open(file).ok()?.take(256).read_to_string(&mut head).ok()?;
    let line = head.strip_prefix("#!")?.lines().next()?;
    line.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    use super::*;

    fn command(program: &str) -> Command {
        Command {
            program: program.to_owned(),
            args: vec![],
            env: BTreeMap::new(),
            cwd: None,
        }
    }

    #[test]
    fn a_missing_program_is_named_with_where_it_was_searched() {
        let (why, kind) = explain(&command("nope"), Some("/a:/b"), Errno::ENOENT as i32);
        assert_eq!(why, "`nope` was not found; searched PATH /a:/b");
        assert_eq!(kind, ExitKind::Misconfigured);
        let (why, _) = explain(&command("/x/nope"), Some("/a"), Errno::ENOENT as i32);
        assert_eq!(why, "`/x/nope` was not found");
        let (_, kind) = explain(&command("a"), None, Errno::EMFILE as i32);
        assert_eq!(kind, ExitKind::Failure);
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("tool");
        fs::write(&script, "#!/no/such/python -u\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().to_str().unwrap();
        let (why, _) = explain(&command("tool"), Some(path), Errno::ENOENT as i32);
        assert_eq!(
            why,
            format!("`{path}/tool` needs `/no/such/python`, which was not found")
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let mut command = command("true");
        command.cwd = Some("/no/such/folder".into());
        assert_eq!(
            missing_folder(&command).unwrap(),
            "its working folder `/no/such/folder` is no folder"
        );
    }
}
