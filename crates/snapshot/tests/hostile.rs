//! Archives that want out, or want too much: each ends in a clear error, and nothing is left.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod support;

use hull_snapshot::{Error, Limits};
use support::{Place, Tar, describe};

/// Applies an archive that must be refused as invalid; returns the message.
#[track_caller]
fn refused(tar: &[u8]) -> String {
    refused_within(tar, &Limits::default())
}

#[track_caller]
fn refused_within(tar: &[u8], limits: &Limits) -> String {
    let place = Place::new();
    let message = match place.apply_within(tar, limits) {
        Err(Error::Invalid(message)) => message,
        other => panic!("not refused: {other:?}"),
    };
    place.assert_untouched();
    message
}

#[test]
fn paths_that_lead_out() {
    for name in ["../canary", "a/../../canary", "a/..", "..", "/../canary"] {
        let message = refused(&Tar::new().file(name, "dead").end());
        assert!(message.contains("path leading out"), "{message}");
        refused(&Tar::new().dir(name).end());
        refused(&Tar::new().symlink(name, "x").end());
        refused(&Tar::new().pax(&[("path", name.as_bytes())]).file("x", "dead").end());
        refused(&Tar::new().long_name(name.as_bytes()).file("x", "dead").end());
        refused(&Tar::new().file("a", "").hard_link("b", name).end());
    }
}

#[test]
fn absolute_names_are_below_the_root() {
    let place = Place::new();
    let canary = place.canary();
    let (chain, applied) = place.apply(&Tar::new().file(canary.to_str().unwrap(), "dead").end()).unwrap();
    assert_eq!((applied.entries, applied.size), (1, 4));
    let inside = place.tree(&chain).join(canary.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_to_string(inside).unwrap(), "dead");
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
}

#[test]
fn links_are_not_written_through() {
    let place = Place::new();
    let canary = place.canary();
    let outside = canary.parent().unwrap().to_str().unwrap();
    let out = canary.to_str().unwrap();
    // A link replaced by a file of its name.
    let (chain, _) = place.apply(&Tar::new().symlink("x", out).file("x", "dead").end()).unwrap();
    assert_eq!(std::fs::read_to_string(place.tree(&chain).join("x")).unwrap(), "dead");
    assert!(std::fs::symlink_metadata(place.tree(&chain).join("x")).unwrap().is_file());
    // A directory link replaced by a directory.
    let tar = Tar::new().symlink("d", outside).dir("d").file("d/canary", "dead").end();
    let (chain, _) = place.apply(&tar).unwrap();
    assert!(place.tree(&chain).join("d/canary").is_file());
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
    for tar in [
        Tar::new().symlink("d", outside).file("d/canary", "dead").end(),
        Tar::new().symlink("d", outside).hard_link("mine", "d/canary").end(),
        Tar::new().symlink("d", "../../../..").file(&format!("d{out}"), "dead").symlink("d", "..").end(),
        Tar::new().symlink("d", "/proc/self/root").file(&format!("d{out}"), "dead").end(),
    ] {
        // Refused, or done below the root: the file outside stays what it was.
        let _ = place.apply(&tar);
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
    }
    refused(&Tar::new().symlink("d", outside).file("d/canary", "dead").end());
}

#[test]
fn links_within_the_root_are_followed() {
    let place = Place::new();
    let tar = Tar::new().dir("real").symlink("alias", "/real").file("alias/file", "here").end();
    let (chain, _) = place.apply(&tar).unwrap();
    assert_eq!(std::fs::read_to_string(place.tree(&chain).join("real/file")).unwrap(), "here");
}

#[test]
fn hard_links_lead_inside_only() {
    let canary = Place::new().canary();
    let message = refused(&Tar::new().hard_link("mine", canary.to_str().unwrap()).end());
    assert!(message.contains("not in the archive"), "{message}");
    refused(&Tar::new().hard_link("mine", "mine").end());
    refused(&Tar::new().hard_link("a", "b").hard_link("b", "a").end());
    refused(&Tar::new().dir("d").hard_link("mine", "d").end());
    refused(&Tar::new().hard_link("mine", "").end());
    // A link to a link is a second name of the link, not of what it says.
    let place = Place::new();
    let tar = Tar::new().symlink("s", place.canary().to_str().unwrap()).hard_link("t", "s").end();
    let (chain, _) = place.apply(&tar).unwrap();
    assert!(place.tree(&chain).join("t").is_symlink());
}

#[test]
fn loops_of_links() {
    refused(&Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "").end());
    refused(&Tar::new().symlink("a", "a/a").file("a/x", "").end());
}

#[test]
fn devices() {
    refused(&Tar::new().device("d", b'4', 1 << 12, 0).end());
    refused(&Tar::new().device("d", b'3', 1, 1 << 20).end());
    refused(&Tar::new().special(b'3', "d", 0, |header| header[257..265].fill(0)).end());
    refused(&Tar::new().device("d", b'3', 1, 3).file("d/file", "").end());
    // The second entry replaces the device; it is not written into it.
    let place = Place::new();
    let (chain, _) = place.apply(&Tar::new().device("d", b'4', 7, 200).file("d", "content").end()).unwrap();
    assert_eq!(std::fs::read_to_string(place.tree(&chain).join("d")).unwrap(), "content");
}

#[test]
fn whiteouts_of_what_is_not_a_name() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh..."] {
        let message = refused(&Tar::new().file(name, "").end());
        assert!(message.contains("invalid whiteout"), "{message}");
    }
    refused(&Tar::new().file("../.wh.canary", "").end());
}

#[test]
fn control_attributes_of_the_overlay_do_not_enter() {
    let place = Place::new();
    let records: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"system_u:object_r:bin_t:s0"),
        ("SCHILY.xattr.user.fine", b"yes"),
    ];
    let (chain, _) = place.apply(&Tar::new().pax(&records).dir("d").end()).unwrap();
    let tree = describe(&place.tree(&chain));
    let attributes: Vec<_> = tree[std::path::Path::new("d")].xattrs.keys().collect();
    assert_eq!(attributes, ["user.fine"]);
}

#[test]
fn bombs() {
    let limits = Limits { max_bytes: 1 << 20, max_entries: 100 };
    let message = refused_within(&Tar::new().file("big", &"x".repeat(2 << 20)).end(), &limits);
    assert!(message.contains("larger than the limit of 1048576 bytes"), "{message}");
    let many = (0..101).fold(Tar::new(), |tar, number| tar.file(&number.to_string(), ""));
    let message = refused_within(&many.end(), &limits);
    assert!(message.contains("more than 100 entries"), "{message}");
    // One entry, a thousand directories.
    let deep = "d/".repeat(1000);
    refused_within(&Tar::new().pax(&[("path", deep.as_bytes())]).dir("x").end(), &limits);
    // Endless zeros behind the end, endless extensions, and an endless promise.
    let endless = Tar::new().file("a", "").end().into_iter().chain(std::iter::repeat_n(0, 2 << 20));
    refused_within(&endless.collect::<Vec<_>>(), &limits);
    let names = (0..2000).fold(Tar::new(), |tar, _| tar.long_name(b"name"));
    refused_within(&names.end(), &limits);
    refused_within(&Tar::new().special(b'0', "a", u64::MAX >> 31, |_| {}).end(), &limits);
}

#[test]
fn cut_and_damaged() {
    let whole = Tar::new().dir("d").file("d/file", &"content ".repeat(1000)).end();
    for length in [1, 511, 513, 1023, 1025, 1100, 5000] {
        let message = refused(&whole[..length]);
        assert!(message.contains("unexpected end of archive"), "{length}: {message}");
    }
    refused(&Tar::new().pax(&[("path", b"a")]).0);
    refused(&Tar::new().pax(&[("path", b"a")]).end());
    refused(&Tar::new().long_name(b"a").end());
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    assert!(refused(&damaged).contains("wrong checksum"));
    refused(&[b'x'; 4096]);
    let mut half = [0; 1024];
    half[600] = 1;
    refused(&half);
    let magic = [0x1f, 0x8b, 8, 0].repeat(500);
    refused(&magic);
}

#[test]
fn extensions_that_lie() {
    refused(&Tar::new().pax(&[("path", b"a\0b")]).file("x", "").end());
    refused(&Tar::new().pax(&[("linkpath", b"a\0b")]).symlink("x", "y").end());
    refused(&Tar::new().pax(&[("size", b"999999999999999999999")]).file("x", "").end());
    refused(&Tar::new().pax(&[("size", b"18446744073709551615")]).file("x", "").end());
    refused(&Tar::new().pax(&[("size", b"-1")]).file("x", "").end());
    refused(&Tar::new().pax(&[("uid", b"4294967295")]).file("x", "").end());
    refused(&Tar::new().pax(&[("gid", b"4294967296")]).file("x", "").end());
    refused(&Tar::new().pax(&[("mtime", b"x")]).file("x", "").end());
    refused(&Tar::new().entry(b'x', "PaxHeaders/x", "", b"999 path=x\n").file("x", "").end());
    refused(&Tar::new().special(b'x', "x", 2 << 20, |_| {}).raw(&vec![b' '; 2 << 20]).file("x", "").end());
    refused(&Tar::new().entry(b'V', "label", "", b"").end());
    refused(&Tar::new().pax(&[("path", "n".repeat(300).as_bytes())]).file("x", "").end());
    refused(&Tar::new().pax(&[("path", "n/".repeat(3000).as_bytes())]).file("x", "").end());
    refused(&Tar::new().symlink("x", "").end());
    refused(&Tar::new().file("", "content").end());
    refused(&Tar::new().file("a", "").file("a/b", "").end());
}

#[test]
fn sparse_files_that_lie() {
    let sparse =
        |records: &[(&str, &[u8])], content: &str| refused(&Tar::new().pax(records).file("x", content).end());
    sparse(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"0,5,3,5")], "0123456789");
    sparse(&[("GNU.sparse.size", b"10"), ("GNU.sparse.map", b"0,5,8,5")], "0123456789");
    sparse(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"0,5,8,50")], "0123456789");
    sparse(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"0,5,8")], "0123456789");
    let version: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"100")];
    sparse(&version, "99999999999999999999999999\n");
    sparse(&version, "2\n0\n1\n");
    sparse(&version, "");
    refused(&Tar::new().special(b'S', "x", 0, |header| header[482] = 1).0);
    let lying = Tar::new().special(b'S', "x", 5, |header| {
        header[386..397].copy_from_slice(b"00000000000");
        header[398..409].copy_from_slice(b"00000000012");
        header[483..494].copy_from_slice(b"00000000024");
    });
    refused(&lying.raw(b"12345").pad().end());
}

#[test]
fn damaged_at_random() {
    let whole = Tar::new()
        .dir("d")
        .pax(&[("path", b"d/long"), ("SCHILY.xattr.user.a", b"value"), ("mtime", b"12.5")])
        .file("x", "content")
        .long_name(b"d/longer")
        .hard_link("y", "d/long")
        .symlink("d/link", "../..")
        .device("d/null", b'3', 1, 3)
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9000")])
        .file("sparse", &format!("{:\0<512}{}", "1\n4096\n3\n", "abc"))
        .file(".wh.gone", "")
        .end();
    let place = Place::new();
    let (chain, _) = place.apply(&whole).unwrap();
    place.snapshotter.remove_layer(&chain).unwrap();
    // A little generator will do: the same damage each time.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let limits = Limits { max_bytes: 1 << 20, max_entries: 1000 };
    for _ in 0..600 {
        let mut tar = whole.clone();
        for _ in 0..=random(3) {
            let at = random(tar.len());
            tar[at] = u8::try_from(random(256)).unwrap();
            mend(&mut tar, at);
        }
        match place.apply_within(&tar, &limits) {
            Ok((chain, _)) => place.snapshotter.remove_layer(&chain).unwrap(),
            Err(Error::Invalid(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    place.assert_untouched();
}

/// Makes the checksum of the damaged block right again, if it is a header: damage is to get past that.
fn mend(tar: &mut [u8], at: usize) {
    let block = &mut tar[at / 512 * 512..at / 512 * 512 + 512];
    if &block[257..262] == b"ustar" {
        block[148..156].copy_from_slice(b"        ");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

#[test]
fn a_source_that_fails() {
    struct Failing(usize);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::other("wrong digest"));
            }
            self.0 -= 1;
            buffer[..512].copy_from_slice(&Tar::new().dir("d").0);
            Ok(512)
        }
    }
    let place = Place::new();
    let chain = hull_oci::Digest::sha256(b"x");
    let failed = place.snapshotter.apply(&chain, Failing(3), &Limits::default());
    assert!(matches!(failed, Err(Error::Invalid(message)) if message == "read archive: wrong digest"));
    place.assert_untouched();
}
