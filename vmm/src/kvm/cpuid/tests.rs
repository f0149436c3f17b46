use super::{VENDOR, leaves, xcr0};
use denali_protocol::bundle::CpuModel::{V2, V3};
use std::collections::BTreeMap;

type Shown = BTreeMap<(u32, u32), [u32; 4]>;

fn shown(model: denali_protocol::bundle::CpuModel) -> Shown {
    leaves(model).as_slice().iter().map(|l| ((l.function, l.index), [l.eax, l.ebx, l.ecx, l.edx])).collect()
}

#[test]
fn only_the_known_leaves_are_shown() {
    let known = [(0, 0), (1, 0), (7, 0), (0xd, 0), (0xd, 1), (0x8000_0000, 0), (0x8000_0001, 0), (0x8000_0008, 0)];
    assert_eq!(shown(V2).into_keys().collect::<Vec<_>>(), known);
    let mut known = known.to_vec();
    known.insert(5, (0xd, 2));
    assert_eq!(shown(V3).into_keys().collect::<Vec<_>>(), known);
    for model in [V2, V3] {
        let shown = shown(model);
        assert_eq!((shown[&(0, 0)][0], shown[&(0x8000_0000, 0)][0]), (0xd, 0x8000_0008), "the highest leaves");
        let [_, ebx, ecx, edx] = shown[&(0, 0)];
        assert_eq!([ebx, edx, ecx].map(u32::to_le_bytes).concat(), VENDOR);
        assert_eq!(shown[&(1, 0)][2] >> 31, 0, "no hypervisor bit");
    }
}

#[test]
fn each_level_has_all_of_the_one_below() {
    let (v2, v3) = (shown(V2), shown(V3));
    for leaf in [(1, 0), (7, 0), (0x8000_0001, 0)] {
        for register in 1..4 {
            assert_eq!(v2[&leaf][register] & !v3[&leaf][register], 0, "{leaf:x?} register {register}");
        }
    }
    assert_eq!((xcr0(V2), xcr0(V3)), (0b11, 0b111));
}

/// The lists of the psABI once more, by their bits: level, leaf, register, bits.
#[test]
fn the_levels_are_those_of_the_psabi() {
    let bit = |bits: &[u32]| bits.iter().fold(0u32, |sum, bit| sum | 1 << bit);
    let v2 = bit(&[0, 9, 13, 19, 20, 23]);
    let v3 = v2 | bit(&[12, 22, 27, 28, 29]);
    let base = bit(&[0, 8, 15, 23, 24, 25, 26]);
    for (model, ecx) in [(V2, v2), (V3, v3)] {
        let [_, _, has_ecx, has_edx] = shown(model)[&(1, 0)];
        assert_eq!((has_ecx & ecx, has_edx & base), (ecx, base));
    }
    let avx = bit(&[12, 28, 29]);
    assert_eq!(shown(V2)[&(1, 0)][2] & avx, 0, "v2 has no AVX");
    assert_eq!(shown(V2)[&(7, 0)][1] & bit(&[3, 5, 8]), 0, "nor BMI, nor AVX2");
    assert_eq!(shown(V3)[&(7, 0)][1] & bit(&[3, 5, 8]), bit(&[3, 5, 8]));
    assert_eq!(shown(V3)[&(0x8000_0001, 0)][2], bit(&[0, 5]));
}
