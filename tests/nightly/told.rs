//! Who is told what: each thing when it happens, that it is over once, and again what could not be delivered.

use super::{TOLD, TWO, events, told, two};

#[test]
fn what_fails_is_told_each_time_and_that_it_is_well_again_once() {
    let bench = two("");
    bench.expect(0, &["run"]);
    assert_eq!(events(&told(&bench)), ["complete shop", "complete wiki"]);
    std::fs::write(bench.path("broken"), "").unwrap();
    for _ in 0..2 {
        bench.expect(4, &["run"]);
        let said = told(&bench);
        assert_eq!(events(&said), ["failed shop", "complete wiki"]);
        assert!(said[0]["title"].as_str().unwrap().ends_with(": shop failed"), "{}", said[0]);
        assert_eq!(said[0]["exit"], 4);
    }
    std::fs::remove_file(bench.path("broken")).unwrap();
    bench.expect(0, &["run"]);
    assert_eq!(events(&told(&bench)), ["recovered shop", "complete shop", "complete wiki"]);
    bench.expect(0, &["run"]);
    assert_eq!(events(&told(&bench)), ["complete shop", "complete wiki"]);
    bench.expect(0, &["backup", "shop"]);
    assert!(told(&bench).is_empty(), "a backup by hand tells nobody");
}

#[test]
fn a_repository_that_is_away_is_behind_until_it_has_caught_up() {
    let bench = two("");
    bench.expect(0, &["run"]);
    told(&bench);
    std::fs::rename(bench.path("usb"), bench.path("unplugged")).unwrap();
    for _ in 0..2 {
        bench.expect(7, &["run", "wiki"]);
        let said = told(&bench);
        assert_eq!(events(&said), ["behind wiki"]);
        assert_eq!(said[0]["entries"][0]["repository"], "usb");
    }
    let status = bench.json(10, &["status"]);
    assert!(status[0]["repositories"][1]["unreachable"].is_string(), "{}", status[0]);
    std::fs::rename(bench.path("unplugged"), bench.path("usb")).unwrap();
    bench.expect(7, &["status"]);
    bench.expect(0, &["run", "wiki"]);
    assert_eq!(events(&told(&bench)), ["recovered wiki", "complete wiki"]);
    assert_eq!(bench.ids("ssd"), bench.ids("usb"));
    bench.expect(0, &["status"]);
}

#[test]
fn damage_that_a_check_finds_is_told_and_that_it_is_gone() {
    let bench = two("");
    bench.expect(0, &["run"]);
    bench.expect(0, &["check", "--notify"]);
    told(&bench);
    let packs = super::several::files(&bench.path("usb/packs"));
    let (name, bytes) = packs.iter().next().unwrap();
    let pack = bench.path("usb/packs").join(name);
    std::fs::remove_file(&pack).unwrap();
    bench.expect(5, &["check"]);
    assert!(told(&bench).is_empty(), "by hand nobody is told");
    bench.expect(5, &["check", "--notify"]);
    let said = told(&bench);
    assert_eq!(events(&said), ["damage usb"]);
    assert!(said[0]["entries"][0]["hint"].as_str().unwrap().contains("bk check --repo usb"));
    let status = bench.expect(5, &["status"]);
    assert!(status.contains("usb IS DAMAGED"), "{status}");
    std::fs::write(&pack, bytes).unwrap();
    bench.expect(0, &["check", "--notify"]);
    assert_eq!(events(&told(&bench)), ["recovered usb"]);
    bench.expect(0, &["status"]);
}

#[test]
fn what_could_not_be_delivered_is_sent_with_the_next_notice_and_fails_no_backup() {
    let bench = two("");
    let deaf = TOLD.replace("cat >>HERE/told;", "test ! -e HERE/deaf && cat >>HERE/told;");
    bench.configure(&format!("{TWO}{deaf}"));
    std::fs::write(bench.path("deaf"), "").unwrap();
    let said = bench.expect(0, &["run", "wiki"]);
    // A program that ends well without reading has heard it, as far as anybody knows.
    assert!(!said.contains("error"), "{said}");
    let failing = TOLD.replace("cat >>HERE/told;", "test ! -e HERE/deaf || exit 3; cat >>HERE/told;");
    bench.configure(&format!("{TWO}{failing}"));
    let said = bench.expect(0, &["run", "wiki"]);
    assert!(said.contains("[notify.own]") && said.contains("sent again with the next notice"), "{said}");
    std::fs::remove_file(bench.path("deaf")).unwrap();
    std::fs::write(bench.path("broken"), "").unwrap();
    told(&bench);
    bench.expect(4, &["run", "shop"]);
    assert_eq!(events(&told(&bench)), ["complete wiki", "failed shop"], "the old one first");
    bench.expect(4, &["run", "shop"]);
    assert_eq!(events(&told(&bench)), ["failed shop"]);
}

#[test]
fn what_is_overdue_is_told_by_a_look_once_a_day() {
    let bench = two("");
    bench.configure(&format!("{TWO}{TOLD}").replace("[defaults]", "[defaults]\nmax-age = \"1s\""));
    bench.expect(0, &["run", "wiki"]);
    told(&bench);
    std::thread::sleep(std::time::Duration::from_millis(2200));
    bench.expect(8, &["status", "--notify"]);
    let said = told(&bench);
    assert_eq!(events(&said), ["overdue wiki", "overdue wiki"], "of shop there never was one: {said:?}");
    bench.expect(8, &["status", "--notify"]);
    assert!(told(&bench).is_empty(), "not again within a day");
    bench.configure(&format!("{TWO}{TOLD}"));
    bench.expect(8, &["status", "--notify"]);
    assert_eq!(events(&told(&bench)), ["recovered wiki", "recovered wiki"]);
}

#[test]
fn a_unit_that_failed_before_bk_could_do_anything_is_told_and_one_that_told_itself_is_not() {
    let bench = two("");
    bench.bk(&["status", "--notify", "--unit", "bk.service"]).status().unwrap();
    let said = told(&bench);
    assert_eq!(events(&said), ["failed -"]);
    assert!(said[0]["body"].as_str().unwrap().contains("bk.service failed before"), "{}", said[0]);
    std::fs::write(bench.path("broken"), "").unwrap();
    bench.expect(4, &["run"]);
    told(&bench);
    bench.bk(&["status", "--notify", "--unit", "bk.service"]).status().unwrap();
    assert!(told(&bench).is_empty());
}

#[test]
fn no_name_of_a_file_is_in_what_is_told() {
    let bench = two("");
    bench.configure(&format!("{TWO}{TOLD}[profile.gone]\npaths = [\"HERE/shop\", \"HERE/very-private-plans\"]\n"));
    let said = bench.expect(3, &["run", "gone"]);
    assert!(said.contains("very-private-plans"), "whoever sits there is told: {said}");
    let notices = told(&bench);
    assert_eq!(events(&notices), ["incomplete gone"]);
    assert!(!notices[0].to_string().contains("very-private-plans"), "{}", notices[0]);
}
