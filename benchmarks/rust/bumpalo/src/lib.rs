// lib.rs - the cycles of bench_arena.cpp on bumpalo: one call per cycle, the loop is Rust's.
use bumpalo::Bump;
use std::alloc::Layout;
use std::hint::black_box;

pub struct Subject {
    bump: Bump,
    mixed: Vec<u32>,
    big: Vec<u32>,
}

#[inline(always)]
fn touch(block: std::ptr::NonNull<u8>) {
    let at = black_box(block.as_ptr()) as *mut u64;
    unsafe { at.write_volatile(1) };
}

#[inline(always)]
fn take(bump: &Bump, size: usize, align: usize) {
    touch(bump.alloc_layout(unsafe { Layout::from_size_align_unchecked(size, align) }));
}

/// # Safety
/// The slices are valid while this runs.
#[no_mangle]
pub unsafe extern "C" fn bumpalo_make(
    mixed: *const u32,
    mixed_count: usize,
    big: *const u32,
    big_count: usize,
) -> *mut Subject {
    Box::into_raw(Box::new(Subject {
        bump: Bump::new(),
        mixed: std::slice::from_raw_parts(mixed, mixed_count).to_vec(),
        big: std::slice::from_raw_parts(big, big_count).to_vec(),
    }))
}

macro_rules! cycle {
    ($name:ident, |$s:ident| $body:block) => {
        /// # Safety
        /// The subject comes from bumpalo_make.
        #[no_mangle]
        #[inline(never)]
        pub unsafe extern "C" fn $name(subject: *mut Subject) {
            let $s = &mut *subject;
            $body
            $s.bump.reset();
        }
    };
}

cycle!(bumpalo_16, |s| {
    for _ in 0..8192 {
        take(&s.bump, 16, 16);
    }
});
cycle!(bumpalo_16_runtime, |s| {
    let size = black_box(16);
    for _ in 0..8192 {
        take(&s.bump, size, 16);
    }
});
cycle!(bumpalo_64, |s| {
    for _ in 0..8192 {
        take(&s.bump, 64, 64);
    }
});
cycle!(bumpalo_mixed, |s| {
    for &size in &s.mixed {
        take(&s.bump, size as usize, 16);
    }
});
cycle!(bumpalo_big, |s| {
    for &size in &s.big {
        take(&s.bump, size as usize, 16);
    }
});
