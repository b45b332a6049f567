//! Virtual machines: those that are off with libvirt itself (its driver `test`), those that run with a stand-in for
//! virsh.

use std::path::PathBuf;

use rustix::process::Signal;

use super::quiesce::{DUMPED, finished};
use super::{MARK, Machine, processes, signal};

fn configure(machine: &Machine, url: &str, more: &str) {
    machine.configure(&format!(
        "exclude = [\"**/*.bk-overlay\"]\n[[profile.shop.hook]]\nrun = \"libvirt\"\n[profile.shop.hook.settings]\nurl = \"{url}\"\n{more}"
    ));
}

#[test]
fn definitions_of_machines_that_are_off_come_from_libvirt_itself() {
    let machine = Machine::new("");
    let disk = machine.bench.file("files/web.img", "disk");
    let domain = |name: &str, state: &str| {
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name>\
             <uuid>faaeb13c-d4a8-49cd-b95a-3244be1bb6f7</uuid><memory>8192</memory><os><type>hvm</type></os>\
             <test:runstate>{state}</test:runstate><devices><disk type='file' device='disk'>\
             <source file='{}'/><target dev='vda'/></disk></devices></domain>",
            disk.display()
        )
    };
    let node = machine.bench.file("node.xml", format!("<node>{}</node>", domain("web", "5")));
    let url = format!("test://{}", node.display());
    configure(&machine, &url, "");
    machine.backs_up();
    let restored = machine.restored("shop");
    let definition = restored.join(".bk/dumps/libvirt/web.xml");
    let text = std::fs::read_to_string(&definition).unwrap();
    assert!(text.contains("<uuid>faaeb13c-d4a8-49cd-b95a-3244be1bb6f7</uuid>"), "{text}");
    // libvirt takes it back: the same definition from another node.
    let other = machine.bench.file("other.xml", format!("<node>{text}</node>"));
    let mut virsh = std::process::Command::new("virsh");
    virsh.args(["--connect", &format!("test://{}", other.display()), "domblklist", "--details", "web"]);
    assert!(super::servers::done(&mut virsh).contains(disk.to_str().unwrap()));
    // The driver cannot make overlays: of a machine that runs the backup is incomplete.
    std::fs::write(node, format!("<node>{}</node>", domain("web", "1"))).unwrap();
    machine.fails("cannot make a snapshot of web");
    assert_eq!(machine.journal(), 0);
    configure(&machine, "test:///nowhere.xml", "");
    machine.fails("cannot connect to libvirt");
}

/// Two machines that run and one that is off, each with a disk.
fn machines() -> (Machine, PathBuf) {
    let mut machine = Machine::new("");
    let state = machine.stand_in(&["virsh"], include_str!("programs/virsh"));
    let mut list = String::new();
    for name in ["mail", "off", "web"] {
        let disk = machine.bench.file(&format!("files/{name} disk.img"), "first\n");
        list.push_str(&format!("{name}\tvda\t{}\n", disk.display()));
    }
    machine.bench.file("state/disks", list);
    machine.bench.file("state/off", "off\n");
    // While it is backed up, `web` writes to what it has as its disk.
    machine.dumper(&write(&state));
    configure(&machine, "qemu:///system", DUMPED);
    (machine, state)
}

fn write(state: &std::path::Path) -> String {
    format!("echo later >>\"$(sed -n 's/^web\\tvda\\t//p' {}/disks)\"", state.display())
}

/// The disks as the machines have them, and what is in that of `web`.
fn disks(machine: &Machine) -> (usize, usize, String) {
    let text = std::fs::read_to_string(machine.bench.path("state/disks")).unwrap();
    let named = text.lines().filter(|line| line.ends_with(".bk-overlay")).count();
    let files = std::fs::read_dir(machine.bench.path("files")).unwrap().flatten();
    let there = files.filter(|entry| entry.path().extension().is_some_and(|end| end == "bk-overlay")).count();
    (named, there, std::fs::read_to_string(machine.bench.path("files/web disk.img")).unwrap())
}

#[test]
fn a_machine_that_runs_writes_to_an_overlay_which_is_merged() {
    let (machine, state) = machines();
    machine.backs_up().says("mail has no guest agent");
    assert_eq!(disks(&machine), (0, 0, "first\nlater\n".into()));
    let restored = machine.restored("shop");
    let below = restored.join(machine.bench.path("files").strip_prefix("/").unwrap());
    for name in ["mail", "off", "web"] {
        let disk = std::fs::read_to_string(below.join(format!("{name} disk.img"))).unwrap();
        assert_eq!(disk, "first\n", "{name} as it was at the beginning");
        let definition = std::fs::read_to_string(restored.join(format!(".bk/dumps/libvirt/{name}.xml"))).unwrap();
        assert!(definition.contains(&format!("<name>{name}</name>")));
    }
    let made = machine.called("snapshot-create-as");
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made.iter().all(|call| !call.contains("-- off ") && call.contains("vda,snapshot=external")), "{made:?}");
    // A dump that fails leaves no overlay.
    machine.dumper(&format!("{}; exit 9", write(&state)));
    machine.fails("exit code 9");
    assert_eq!(disks(&machine), (0, 0, "first\nlater\nlater\n".into()));
    machine.dumper("");
    std::fs::write(state.join("cut"), "").unwrap();
    machine.fails("web.xml is not whole");
    std::fs::remove_file(state.join("cut")).unwrap();
    // Nor does a snapshot that fails: of nothing, and of what was begun.
    std::fs::write(state.join("fails"), "snapshot-create-as").unwrap();
    machine.dumper("");
    machine.fails("cannot make a snapshot of mail");
    assert_eq!((disks(&machine).0, disks(&machine).1, machine.journal()), (0, 0, 0));
}

#[test]
fn an_overlay_that_cannot_be_merged_is_kept_and_merged_by_the_next_run() {
    let (machine, state) = machines();
    std::fs::write(state.join("fails"), "blockcommit").unwrap();
    machine.run(&["backup", "shop"]).exits(4).says("these machines still run on an overlay");
    assert_eq!(disks(&machine), (2, 2, "first\n".into()), "what was written is not lost");
    // Meanwhile no other overlay is put on it.
    machine.fails("runs on the overlay");
    assert_eq!(disks(&machine).0, 2);
    std::fs::remove_file(state.join("fails")).unwrap();
    let other = machine.bench.folder("other");
    machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
    let (named, there, text) = disks(&machine);
    assert_eq!((named, there, machine.journal()), (0, 0, 0));
    assert!(text.starts_with("first\nlater\n"), "{text}");
}

#[test]
fn after_a_kill_the_next_run_merges_the_overlays() {
    let (machine, state) = machines();
    machine.dumper(&format!("{}; sleep 300", write(&state)));
    let mark = format!("libvirt-{}", std::process::id());
    let child = machine.start_until("dump", &mark);
    let web = machine.bench.path("files/web disk.img.bk-overlay");
    super::wait_for("a write", || std::fs::read_to_string(&web).is_ok_and(|text| !text.is_empty()).then_some(()));
    signal(child.id() as i32, Signal::KILL);
    for (id, _) in processes(&format!("{MARK}={mark}")) {
        signal(id, Signal::KILL);
    }
    assert!(!finished(child).status.success());
    assert_eq!(disks(&machine), (2, 2, "first\n".into()));
    let other = machine.bench.folder("other");
    machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
    assert_eq!((disks(&machine), machine.journal()), ((0, 0, "first\nlater\n".into()), 0));
}
