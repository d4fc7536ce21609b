//! The images are what they say.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::process::Command;

use hull_testkit::images::Image;

fn unpacked(archive: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("hull-test-").tempdir().unwrap();
    std::fs::write(dir.path().join("archive.tar"), archive).unwrap();
    let archive = dir.path().join("archive.tar");
    let tar = Command::new("tar").arg("-C").arg(dir.path()).arg("-xf").arg(archive).status();
    assert!(tar.unwrap().success());
    dir
}

#[test]
fn archives_hold_what_their_manifests_name() {
    let image = Image::busybox();
    let dir = unpacked(&image.docker_archive("busybox:latest"));
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    let config = manifest[0]["Config"].as_str().unwrap();
    assert_eq!(format!("sha256:{}", config.strip_suffix(".json").unwrap()), image.id().to_string());
    let config: serde_json::Value = serde_json::from_slice(&read(config)).unwrap();
    let layer = read(manifest[0]["Layers"][0].as_str().unwrap());
    assert_eq!(config["rootfs"]["diff_ids"][0], hull_oci::Digest::sha256(&layer).to_string());
    let layout = unpacked(&image.oci_archive("busybox:latest"));
    for blob in std::fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let digest = hull_oci::Digest::sha256(&std::fs::read(blob.path()).unwrap());
        assert_eq!(digest.hex(), blob.file_name().to_str().unwrap());
    }
}

#[test]
fn the_same_image_is_the_same_bytes() {
    assert_eq!(Image::busybox().oci_archive("a:b"), Image::busybox().oci_archive("a:b"));
}
