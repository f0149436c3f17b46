use super::{
    needs::{DEFAULT_MEMORY_BYTES, LINUX_MEMORY_BYTES, cpu},
    *,
};
use denali_protocol::bundle::CpuModel;
use std::time::Duration;

/// The start of an x86-64 ELF file.
pub(crate) fn elf() -> Vec<u8> {
    let mut elf = vec![0; 64];
    elf[..4].copy_from_slice(ELF_MAGIC);
    elf[18] = 62;
    elf
}

#[test]
fn an_image_and_its_bundle_are_the_same_program() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("hello.elf");
    std::fs::write(&image, elf()).unwrap();
    let packed = Program::read(&image, &Needs::default(), &Extras::default()).unwrap();
    assert_eq!((packed.manifest.name.as_str(), packed.manifest.memory_bytes), ("hello", DEFAULT_MEMORY_BYTES));

    let file = directory.path().join("hello.denali");
    std::fs::write(&file, bundle::assemble(&packed.content, &[]).unwrap()).unwrap();
    assert_eq!(Program::read(&file, &Needs::default(), &Extras::default()).unwrap().digest, packed.digest);
}

#[test]
fn a_bundle_is_packed_again_with_other_needs() {
    let path = Path::new("x");
    let content = pack(&elf(), path, None, &Needs::default(), &Extras::default()).unwrap();
    let file = bundle::assemble(&content, &[]).unwrap();
    for needs in [
        Needs { memory: Some(128 << 20), ..Needs::default() },
        Needs { cpu_time: Some(Duration::from_secs(1)), ..Needs::default() },
        Needs { wall_time: Some(Duration::from_secs(2)), ..Needs::default() },
        Needs { cpu: Some(CpuModel::V3), ..Needs::default() },
    ] {
        let old = Program::from_content(content.clone(), Vec::new()).unwrap();
        let new = pack(&file, path, None, &needs, &Extras::default()).unwrap();
        let new = Program::from_content(new, Vec::new()).unwrap();
        assert!(needs.are_those_of(&new.manifest) && !needs.are_those_of(&old.manifest), "{needs:?}");
        assert_ne!(new.digest, old.digest);
    }
}

#[test]
fn what_is_no_program_is_refused_with_advice() {
    let mut other_cpu = elf();
    other_cpu[18] = 183;
    let mut narrow = elf();
    narrow[4] = 1;
    for (wrong, word) in [
        (b"#!/bin/sh -e\n".to_vec(), "\"/bin/sh -e\""),
        (other_cpu, "another CPU"),
        (narrow, "32-bit"),
        (b"DENALIB1".to_vec(), "a bundle already"),
        (Vec::new(), "not an ELF"),
    ] {
        let error = pack(&wrong, Path::new("x"), None, &Needs::default(), &Extras::default()).unwrap_err();
        let text = crate::cli::failure::text(&error).unwrap();
        assert!(text.contains("hint: ") && text.contains(word), "{text}");
    }
}

#[test]
fn nodes_grant_what_linux_programs_ask_for() {
    assert!(LINUX_MEMORY_BYTES <= crate::node::policy::Unsigned::default().memory);
}

#[test]
fn cpu_models_have_short_names() {
    assert_eq!(cpu("v3"), Ok(CpuModel::V3));
    assert_eq!(cpu("x86-64-v2"), Ok(CpuModel::V2));
    assert!(cpu("v4").is_err());
}
