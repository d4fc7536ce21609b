//! config.md, "Mounts", and config-linux.md, "Rootfs Mount Propagation".

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use serde_json::json;

use crate::namespaces::userns_bed;
use crate::support::{Bed, kernel_has, other_runtime, runtime_is};

/// A directory of the host with a file, and a tmpfs below it.
fn shared(bed: &Bed) -> PathBuf {
    let dir = bed.dir.join("shared");
    fs::create_dir_all(dir.join("below")).unwrap();
    fs::write(dir.join("file"), "content\n").unwrap();
    let tmpfs = hull_sys::mount::new_fs("tmpfs", &[], hull_sys::mount::Attr::empty()).unwrap();
    hull_sys::mount::move_to_path(std::os::fd::AsFd::as_fd(&tmpfs), dir.join("below")).unwrap();
    dir
}

fn unmount(bed: Bed) {
    hull_sys::mount::detach(bed.dir.join("shared/below")).unwrap();
    drop(bed);
}

/// The options of a mount point in the container, as the kernel shows them.
fn options_of(bed: &mut Bed, options: &[&str], targets: &[&str]) -> Vec<String> {
    let source = bed.dir.join("shared");
    bed.config["root"]["readonly"] = json!(false);
    let mounts = bed.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/mnt");
    bed.mount(json!({ "source": source, "destination": "/mnt", "options": options }));
    let script: String =
        targets.iter().map(|at| format!("awk '$5 == \"{at}\" {{print $6}}' /proc/self/mountinfo;")).collect();
    bed.shell(&script).lines().map(str::to_owned).collect()
}

#[test]
fn each_option_has_its_attribute() {
    let mut bed = Bed::new();
    shared(&bed);
    for (option, shown) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("nosymfollow", "nosymfollow"),
    ] {
        if option == "nosymfollow" && runtime_is(&["runc", "crun"]) {
            continue;
        }
        let seen = options_of(&mut bed, &["rbind", option], &["/mnt", "/mnt/below"]);
        assert!(seen[0].split(',').any(|word| word == shown), "{option}: {seen:?}");
        assert!(!seen[1].split(',').any(|word| word == shown), "{option} reaches below: {seen:?}");
    }
    if runtime_is(&["crun"]) {
        return unmount(bed);
    }
    for words in
        [["ro", "rw"], ["noexec", "exec"], ["nosuid", "suid"], ["nodev", "dev"], ["noatime", "atime"]]
    {
        let seen = options_of(&mut bed, &["rbind", words[0], words[1]], &["/mnt"]);
        assert!(!seen[0].split(',').any(|word| word == words[0]), "{words:?}: {seen:?}");
    }
    unmount(bed);
}

#[test]
fn recursive_options_reach_below() {
    if runtime_is(&["crun"]) {
        return;
    }
    let mut bed = Bed::new();
    shared(&bed);
    for (option, shown) in [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
    ] {
        let seen = options_of(&mut bed, &["rbind", option], &["/mnt", "/mnt/below"]);
        assert!(
            seen.len() == 2 && seen.iter().all(|all| all.split(',').any(|word| word == shown)),
            "{option}: {seen:?}"
        );
    }
    // runc 1.1 only adds.
    if runtime_is(&["runc"]) {
        return unmount(bed);
    }
    for (first, then, gone) in [
        ("rro", "rrw", "ro"),
        ("rnosuid", "rsuid", "nosuid"),
        ("rnodev", "rdev", "nodev"),
        ("rnoexec", "rexec", "noexec"),
        ("rnoatime", "rrelatime", "noatime"),
        ("rnoatime", "rstrictatime", "noatime"),
        ("rnodiratime", "rdiratime", "nodiratime"),
    ] {
        let seen = options_of(&mut bed, &["rbind", first, then], &["/mnt", "/mnt/below"]);
        assert!(seen.iter().all(|all| !all.split(',').any(|word| word == gone)), "{first},{then}: {seen:?}");
    }
    unmount(bed);
}

#[test]
fn a_bind_shows_what_is_below_if_asked() {
    let mut bed = Bed::new();
    let source = shared(&bed);
    fs::write(source.join("below/deep"), "").unwrap();
    bed.config["root"]["readonly"] = json!(false);
    bed.mount(json!({ "source": source, "destination": "/tree", "options": ["rbind"] }));
    bed.mount(json!({ "source": source, "destination": "/alone", "options": ["bind"] }));
    // A file, and one whose place does not exist yet.
    bed.mount(json!({ "source": source.join("file"), "destination": "/some/where/file", "options": ["bind", "ro"] }));
    assert_eq!(
        bed.shell("ls /tree/below /alone/below; cat /some/where/file; ! echo x > /some/where/file"),
        "/alone/below:\n\n/tree/below:\ndeep\ncontent\n"
    );
    unmount(bed);
}

#[test]
fn mounts_travel_as_they_are_told() {
    if other_runtime().is_some() {
        return;
    }
    let mut bed = Bed::new();
    shared(&bed);
    bed.config["root"]["readonly"] = json!(false);
    for (word, shown) in [
        ("private", ""),
        ("rprivate", ""),
        ("slave", "master"),
        ("rslave", "master"),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ] {
        let source = bed.dir.join("shared");
        // A mount of its own that is shared, so that there is something to be a slave of.
        let own = hull_sys::mount::new_fs("tmpfs", &[], hull_sys::mount::Attr::empty()).unwrap();
        hull_sys::mount::move_to_path(std::os::fd::AsFd::as_fd(&own), source.join("below")).unwrap();
        hull_sys::mount::set_propagation(source.join("below"), hull_sys::mount::Propagation::Shared, false)
            .unwrap();
        let mounts = bed.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/mnt");
        bed.mount(
            json!({ "source": source.join("below"), "destination": "/mnt", "options": ["rbind", word] }),
        );
        // The optional fields lie between the sixth and the dash.
        let fields =
            bed.shell("awk '$5 == \"/mnt\" {for (i = 7; $i != \"-\"; i++) print $i}' /proc/self/mountinfo");
        let fields: Vec<&str> = fields.lines().map(|field| field.split(':').next().unwrap()).collect();
        let expected: Vec<&str> = [shown].into_iter().filter(|shown| !shown.is_empty()).collect();
        assert_eq!(fields, expected, "{word}");
        hull_sys::mount::detach(source.join("below")).unwrap();
    }
    unmount(bed);
}

#[test]
fn the_root_travels_as_it_is_told() {
    for (word, shown) in [("private", ""), ("slave", ""), ("shared", "shared"), ("unbindable", "unbindable")]
    {
        if word != "private" && other_runtime().is_some() {
            continue;
        }
        let mut bed = Bed::new();
        bed.config["linux"]["rootfsPropagation"] = json!(word);
        let fields =
            bed.shell("awk '$5 == \"/\" {for (i = 7; $i != \"-\"; i++) print $i}' /proc/self/mountinfo");
        assert_eq!(fields.split([':', '\n']).next().unwrap(), shown, "{word}");
    }
}

#[test]
fn a_tmpfs_can_begin_with_what_it_covers() {
    if runtime_is(&["crun"]) {
        return;
    }
    let mut bed = Bed::new();
    let data = bed.rootfs().join("data");
    fs::create_dir_all(data.join("deep/er")).unwrap();
    fs::write(data.join("deep/file"), "content\n").unwrap();
    fs::set_permissions(data.join("deep/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    chown(data.join("deep/er"), Some(33), Some(44)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", data.join("link")).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o2750)).unwrap();
    bed.mount(json!({ "source": "tmpfs", "destination": "/data", "type": "tmpfs", "options": ["tmpcopyup", "noexec"] }));
    let script = "cat /data/deep/file; stat -c '%a %u:%g %F' /data/deep/er /data/deep/file; readlink /data/link; \
        stat -f -c %T /data; echo more > /data/deep/file; stat -c %a /data";
    let said = bed.shell(script);
    let mode =
        if other_runtime().is_some() { said.lines().last().unwrap().to_owned() } else { "2750".to_owned() };
    assert_eq!(
        said,
        format!("content\n755 33:44 directory\n4751 0:0 regular file\n/etc/passwd\ntmpfs\n{mode}\n")
    );
    assert_eq!(fs::read_to_string(data.join("deep/file")).unwrap(), "content\n");
}

#[test]
fn a_tmpfs_has_the_permissions_of_its_place() {
    let mut bed = Bed::new();
    fs::create_dir(bed.rootfs().join("data")).unwrap();
    fs::set_permissions(bed.rootfs().join("data"), fs::Permissions::from_mode(0o751)).unwrap();
    bed.mount(json!({ "source": "tmpfs", "destination": "/data", "type": "tmpfs" }));
    bed.mount(json!({ "source": "tmpfs", "destination": "/data/x", "type": "tmpfs", "options": ["mode=700", "size=64k"] }));
    let expected = if runtime_is(&["crun"]) { "1777\n700\n" } else { "751\n700\n" };
    assert_eq!(bed.shell("stat -c %a /data /data/x"), expected);
}

/// With the container's own maps a file of the host's root is that of the container's; with maps of its own whatever
/// they say.
#[test]
fn a_mount_can_show_other_ids() {
    // The beds may be on a tmpfs, which takes maps since then.
    if other_runtime().is_some() || !kernel_has((6, 3)) {
        return;
    }
    let mut bed = userns_bed();
    let source = bed.dir.join("idmapped");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    chown(source.join("file"), Some(7), Some(8)).unwrap();
    bed.config["root"]["readonly"] = json!(true);
    let mount =
        |options: &[&str]| json!({ "source": source, "destination": "/dev/shm/m", "options": options });
    bed.mount(mount(&["rbind"]));
    let script = "stat -c '%u:%g' /dev/shm/m/file";
    assert_eq!(bed.shell(script), "65534:65534\n");
    for options in [["bind", "idmap"], ["rbind", "ridmap"]] {
        bed.config["mounts"].as_array_mut().unwrap().pop();
        bed.mount(mount(&options));
        assert_eq!(bed.shell(script), "7:8\n", "{options:?}");
    }
    // What is written is the host root's, not that of an id of the map.
    bed.shell("touch /dev/shm/m/made");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(source.join("made")).unwrap()), 0);
}

#[test]
fn a_mount_has_maps_of_its_own() {
    if other_runtime().is_some() || !kernel_has((6, 3)) {
        return;
    }
    let mut bed = Bed::new();
    let map = |inside: u32, outside: u32| json!([{ "containerID": inside, "hostID": outside, "size": 10 }]);
    let source = bed.dir.join("idmapped");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    chown(source.join("file"), Some(7), Some(8)).unwrap();
    let mut mount = json!({ "source": source, "destination": "/dev/shm/m", "options": ["bind"] });
    mount["uidMappings"] = map(0, 1000);
    mount["gidMappings"] = map(0, 2000);
    bed.mount(mount);
    assert_eq!(bed.shell("stat -c '%u:%g' /dev/shm/m/file"), "1007:2008\n");
}

/// What the host has mounted read-only stays so for the root of a user namespace, whatever he may do there.
#[test]
fn what_is_read_only_on_the_host_stays_so() {
    use hull_sys::mount::{Attr, Change, move_to_path, new_fs, set_attr};
    use std::os::fd::AsFd;
    // crun 1.8 lets him.
    if runtime_is(&["crun"]) {
        return;
    }
    let mut bed = userns_bed();
    let closed = bed.dir.join("closed");
    let source = closed.join("readonly");
    fs::create_dir_all(&source).unwrap();
    // runc 1.1 cannot get there.
    let mode = if other_runtime().is_some() { 0o711 } else { 0o700 };
    fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
    let tmpfs = new_fs("tmpfs", &[], Attr::empty()).unwrap();
    set_attr(tmpfs.as_fd(), &Change { set: Attr::MOUNT_ATTR_RDONLY, ..Change::default() }, false).unwrap();
    move_to_path(tmpfs.as_fd(), &source).unwrap();
    bed.mount(json!({ "source": source, "destination": "/dev/shm/m", "options": ["bind"] }));
    for set in ["bounding", "permitted", "effective"] {
        bed.config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
    }
    bed.config["process"]["noNewPrivileges"] = json!(false);
    let said = bed.shell("mount -o remount,bind,rw /dev/shm/m 2>&1; mkdir /dev/shm/m/x 2>&1; true");
    assert!(said.contains("ermission denied") || said.contains("not permitted"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    hull_sys::mount::detach(&source).unwrap();
}

#[test]
fn a_mount_is_changed_by_remount() {
    if other_runtime().is_some() {
        return;
    }
    let mut bed = Bed::new();
    bed.mount(json!({ "destination": "/dev/shm", "type": "tmpfs", "options": ["remount", "ro"] }));
    bed.shell("! touch /dev/shm/x");
}

#[test]
fn a_relative_destination_is_below_the_root() {
    let mut bed = Bed::new();
    fs::create_dir(bed.rootfs().join("data")).unwrap();
    bed.mount(json!({ "source": "tmpfs", "destination": "data", "type": "tmpfs" }));
    assert_eq!(bed.shell("stat -f -c %T /data"), "tmpfs\n");
}

/// All hierarchies of the host, each the container's own cgroup, with a cgroup namespace and without.
#[test]
fn the_cgroup_is_shown_in_the_shape_of_the_host() {
    let mut bed = Bed::new();
    let own = bed.cgroup();
    let script = "cd /sys/fs/cgroup; test -e cgroup.procs || cd pids; grep -c . cgroup.procs; ls | grep -c hull-test; ls -d /sys/fs/cgroup; true";
    for namespace in [true, false] {
        if !namespace {
            let all = bed.config["linux"]["namespaces"].as_array_mut().unwrap();
            all.retain(|namespace| namespace["type"] != "cgroup");
        }
        let said = bed.shell(script);
        let mut lines = said.lines();
        let processes: u32 = lines.next().unwrap().parse().unwrap();
        assert!((1..=2).contains(&processes), "{processes} processes are seen in {own}");
        assert_eq!(lines.next(), Some("0"));
    }
    if fs::metadata("/sys/fs/cgroup/cpu").is_ok() {
        let outside = fs::read_to_string("/proc/self/cgroup").unwrap();
        let hierarchies = outside.lines().filter(|line| !line.starts_with("0:")).count();
        let said = bed.shell("awk '$5 ~ \"^/sys/fs/cgroup/\"' /proc/self/mountinfo | grep -c ' - cgroup '");
        assert_eq!(said.trim().parse::<usize>().unwrap(), hierarchies);
    }
}

crate::refuses! {
    half_a_map lacks "runc" "crun": { "mounts+": [{ "source": "/etc", "destination": "/m", "options": ["bind"],
        "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 1 }] }] } => "mount on /m: uidMappings and gidMappings go together";
    an_idmap_without_maps lacks "runc" "crun": { "mounts+": [{ "source": "/etc", "destination": "/m", "options": ["bind", "idmap"] }] } => "needs mappings";
    an_idmap_of_a_new_file_system lacks "runc" "crun": { "mounts+": [{ "source": "x", "type": "tmpfs", "destination": "/m", "options": ["idmap"] }] } => "only bind mounts";
    a_copy_into_something_else lacks "runc" "crun": { "mounts+": [{ "source": "/etc", "destination": "/m", "options": ["bind", "tmpcopyup"] }] } => "tmpcopyup is for tmpfs";
    a_source_that_is_missing: { "mounts+": [{ "source": "/no/such", "destination": "/m", "options": ["bind"] }] } => "mounts: bind /no/such: no such file";
    an_unknown_file_system: { "mounts+": [{ "source": "x", "type": "nofs", "destination": "/m" }] } => "mounts: fsopen nofs: ";
}
