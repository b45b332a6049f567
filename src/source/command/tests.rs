use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc;

use super::*;

fn shell(script: &str) -> Vec<OsString> {
    ["/bin/sh", "-c", script].map(OsString::from).to_vec()
}

fn start(argv: &[OsString], time_limit: Option<Duration>) -> Running {
    Program { argv, time_limit, ..Program::default() }.start(|_| ()).unwrap()
}

/// What was read, how the reading ended, and what `finish` says.
fn run(script: &str, limit: Option<Duration>) -> (Vec<u8>, io::Result<usize>, Result<(), CommandError>) {
    let mut running = start(&shell(script), limit);
    let mut output = Vec::new();
    let read = running.read_to_end(&mut output);
    (output, read, running.finish())
}

fn is_alive(pid: &[u8]) -> bool {
    let pid = std::str::from_utf8(pid).unwrap().trim();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

fn is_gone_soon(pid: &[u8]) -> bool {
    (0..50).any(|_| {
        thread::sleep(Duration::from_millis(20));
        !is_alive(pid)
    })
}

const SHORT: Option<Duration> = Some(Duration::from_millis(300));
const LONG: Option<Duration> = Some(Duration::from_secs(60));

#[test]
fn a_program_that_says_nothing_ends_when_the_user_wants_it() {
    let argv = ["sleep", "60"].map(OsString::from);
    let flag = Arc::new(AtomicBool::new(false));
    let program = Program { argv: &argv, time_limit: LONG, cancel: Some(&flag), ..Program::default() };
    let mut running = program.start(|_| ()).unwrap();
    let setter = Arc::clone(&flag);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        setter.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let start = std::time::Instant::now();
    running.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(matches!(running.finish(), Err(CommandError::Interrupted { .. })));
}

#[test]
fn a_program_that_exits_with_0_gives_its_whole_output() {
    let (output, read, end) = run("echo one; echo two", LONG);
    assert_eq!(output, b"one\ntwo\n");
    assert!(read.is_ok() && end.is_ok());
}

#[test]
fn a_large_output_comes_through_unchanged() {
    let (output, _, end) = run("head -c 20000000 /dev/zero | tr '\\0' 'x'", LONG);
    assert!(output.len() == 20_000_000 && output.iter().all(|byte| *byte == b'x'));
    assert!(end.is_ok());
}

#[test]
fn an_exit_code_other_than_0_after_the_output_is_an_error_of_the_reader_and_of_finish() {
    let (output, read, end) = run("echo half; echo why >&2; exit 3", None);
    assert_eq!(output, b"half\n");
    assert!(read.is_err());
    let error = end.unwrap_err();
    assert!(matches!(&error, CommandError::Failed { code: 3, .. }), "{error:?}");
    assert_eq!(error.stderr(), Some("why\n"));
    assert_eq!(error.to_string(), "program `/bin/sh` failed with exit code 3");
}

#[test]
fn a_program_ended_by_a_signal_is_told_apart() {
    let (_, read, end) = run("echo half; kill -9 $$", None);
    assert!(read.is_err());
    assert!(matches!(end, Err(CommandError::Killed { signal: 9, .. })), "{end:?}");
}

#[test]
fn a_program_that_hangs_is_ended_at_its_time_limit_with_its_children() {
    let mut running = start(&shell("sleep 300 & echo $!; exec sleep 301"), SHORT);
    let mut child = Vec::new();
    let error = running.read_to_end(&mut child).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(matches!(running.finish(), Err(CommandError::TimeLimit { .. })));
    assert!(is_gone_soon(&child));
}

#[test]
fn a_program_that_ignores_sigterm_is_killed() {
    let (output, _, end) = run("trap '' TERM; echo $$; while :; do sleep 1; done", SHORT);
    assert!(matches!(end, Err(CommandError::TimeLimit { .. })), "{end:?}");
    assert!(is_gone_soon(&output));
}

#[test]
fn a_program_that_hangs_after_its_output_ended_is_stopped_too() {
    let (_, read, end) = run("echo all; exec >&- 2>&-; sleep 300", SHORT);
    assert!(read.is_err());
    assert!(matches!(end, Err(CommandError::TimeLimit { .. })), "{end:?}");
}

#[test]
fn a_flood_of_messages_neither_blocks_nor_fills_the_memory() {
    let script = "head -c 10000000 /dev/zero | tr '\\0' 'e' >&2; echo last >&2; echo done; exit 1";
    let (output, _, end) = run(script, LONG);
    assert_eq!(output, b"done\n");
    let error = end.unwrap_err();
    let words = error.stderr().unwrap();
    assert!(words.len() == watch::TAIL_LEN && words.ends_with("elast\n"), "{}", words.len());
}

#[test]
fn messages_come_line_by_line_while_the_program_runs() {
    let (lines, heard) = mpsc::channel();
    let argv = shell("echo first >&2; printf 'se\\377cond\\r\\nthird' >&2; read never; echo out");
    let running = Program { argv: &argv, time_limit: LONG, ..Program::default() }
        .start(move |line| drop(lines.send(line.to_owned())));
    let mut running = running.unwrap();
    running.read_to_end(&mut Vec::new()).unwrap();
    running.finish().unwrap();
    assert_eq!(heard.iter().collect::<Vec<_>>(), ["first", "se\u{fffd}cond", "third"]);
}

#[test]
fn a_listener_that_panics_does_not_hang_the_run() {
    let argv = shell("echo boo >&2; echo out");
    let mut running =
        Program { argv: &argv, time_limit: LONG, ..Program::default() }.start(|line| assert_eq!(line, "x")).unwrap();
    let mut output = Vec::new();
    running.read_to_end(&mut output).unwrap();
    running.finish().unwrap();
    assert_eq!(output, b"out\n");
}

#[test]
fn a_silent_child_that_keeps_the_output_open_breaks_it_and_is_ended() {
    let (output, read, end) = run("sleep 300 & echo $!; exit 0", None);
    assert!(read.is_err());
    assert!(matches!(end, Err(CommandError::HeldOpen { .. })), "{end:?}");
    assert!(is_gone_soon(&output));
}

#[test]
fn a_child_that_goes_on_writing_after_its_parent_is_read_to_its_end() {
    let (output, _, end) = run("(for n in 1 2 3 4 5 6; do sleep 0.2; echo $n; done) & exit 0", LONG);
    assert_eq!(output, b"1\n2\n3\n4\n5\n6\n");
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn a_child_in_another_session_that_keeps_the_output_open_does_not_hang_the_reader() {
    let (output, _, end) = run("setsid sleep 20 & echo $!; exit 0", None);
    assert!(matches!(end, Err(CommandError::HeldOpen { .. })), "{end:?}");
    let pid = Pid::from_raw(String::from_utf8(output).unwrap().trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_child_left_in_the_group_without_our_output_is_ended_too() {
    let (output, _, end) = run("sleep 300 >/dev/null 2>&1 & echo $!", LONG);
    assert!(end.is_ok(), "{end:?}");
    assert!(is_gone_soon(&output));
}

#[test]
fn a_slow_reader_is_not_taken_for_a_silent_child() {
    let mut running = start(&shell("head -c 3000000 /dev/zero"), None);
    let mut first = [0; 1];
    running.read_exact(&mut first).unwrap();
    thread::sleep(Duration::from_millis(2500));
    let mut rest = Vec::new();
    running.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 2_999_999);
    running.finish().unwrap();
}

#[test]
fn dropping_it_ends_and_reaps_the_whole_group() {
    let mut running = start(&shell("sleep 300 & echo $! $$; cat /dev/zero"), None);
    let mut line = [0; 32];
    let length = running.read(&mut line).unwrap();
    let text = std::str::from_utf8(&line[..length]).unwrap();
    let pids: Vec<&str> = text.lines().next().unwrap().split(' ').collect();
    drop(running);
    assert!(pids.iter().all(|pid| is_gone_soon(pid.as_bytes())));
    assert!(!Path::new(&format!("/proc/{}", pids[1])).exists(), "a zombie is left");
}

#[test]
fn finishing_before_the_end_of_the_output_is_an_error() {
    let mut running = start(&shell("echo one; sleep 300"), None);
    running.read_exact(&mut [0; 4]).unwrap();
    assert!(matches!(running.finish(), Err(CommandError::Unread { .. })));
}

#[test]
fn arguments_are_never_interpreted() {
    let argv = ["/bin/printf", "%s|%s|%s", "a b;", "$(echo no)`id`", "*;\n\"'"].map(OsString::from);
    let mut running = start(&argv, LONG);
    let mut output = String::new();
    running.read_to_string(&mut output).unwrap();
    running.finish().unwrap();
    assert_eq!(output, "a b;|$(echo no)`id`|*;\n\"'");
}

#[test]
fn a_missing_program_and_no_program_are_told_apart_and_arguments_are_not_repeated() {
    let argv = ["/no/such/program", "--password=secret"].map(OsString::from);
    let error = Program { argv: &argv, time_limit: None, ..Program::default() }.start(|_| ()).map(drop).unwrap_err();
    assert!(matches!(&error, CommandError::NotStarted { source, .. } if source.kind() == io::ErrorKind::NotFound));
    assert!(!format!("{error} {error:?} {}", error.hint()).contains("secret"));
    let none = Program { argv: &[], time_limit: None, ..Program::default() }.start(|_| ()).map(drop);
    assert!(matches!(none, Err(CommandError::NoProgram)));
}

#[test]
fn standard_input_is_empty_and_the_group_is_its_own() {
    let (output, _, end) = run("wc -c; cut -d' ' -f1,5 /proc/$$/stat", LONG);
    end.unwrap();
    let text = String::from_utf8(output).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words[0], "0");
    assert_eq!(words[1], words[2]);
}

#[test]
#[ignore = "run by the next test in a process with other variables"]
fn child_prints_its_variables() {
    if std::env::var_os("BK_PASSWORD_FILE").is_some() {
        let (output, _, end) = run("env", LONG);
        end.unwrap();
        let text = String::from_utf8(output).unwrap();
        assert!(text.contains("BK_REPOSITORY=here") && !text.contains("BK_PASSWORD") && !text.contains("BK_KEY"));
    }
}

#[test]
fn our_own_secrets_are_not_inherited() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "source::command::tests::child_prints_its_variables"])
        .envs([("BK_PASSWORD", "p"), ("BK_PASSWORD_FILE", "f"), ("BK_KEY", "k"), ("BK_REPOSITORY", "here")])
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "run by the next test at a terminal"]
fn child_asks_at_a_terminal() {
    let (_, _, end) = run("read answer </dev/tty", LONG);
    writeln!(io::stdout(), "\nresult: {end:?}").unwrap();
}

#[test]
fn a_program_that_asks_at_the_terminal_is_not_waited_for() {
    let exe = std::env::current_exe().unwrap();
    let inner =
        format!("'{}' --ignored --exact --nocapture source::command::tests::child_asks_at_a_terminal", exe.display());
    // script(1) provides the terminal; where it is missing there is nothing to test with.
    let Ok(mut script) =
        Command::new("script").args(["-qec", &inner, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    else {
        return;
    };
    let stdin = script.stdin.take();
    let mut text = String::new();
    script.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    drop(stdin);
    script.wait().unwrap();
    assert!(text.contains("WantsTerminal"), "{text}");
}

#[test]
fn many_programs_at_once_all_end_well() {
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let (output, _, end) = run("echo x", LONG);
                    if output != b"x\n" || end.is_err() {
                        failures.lock().unwrap().push(end);
                    }
                }
            });
        }
    });
    assert!(failures.lock().unwrap().is_empty(), "{failures:?}");
}
