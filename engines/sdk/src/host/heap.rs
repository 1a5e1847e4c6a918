//! The heap of a component: that of the standard library, but for where its first memory comes from.
//!
//! Each call runs in a fresh instance, and most need a few KiB. The standard library's heap asks for all its memory by growing that of
//! the instance, which the host has to make accessible, and to take away again afterwards: a third of the time of a small decision. So
//! the first memory is a part of the instance that is there from the beginning and costs nothing until it is written to; only a call that
//! needs more grows.

#![allow(unsafe_code, reason = "a heap hands out memory by its address")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use dlmalloc::Dlmalloc;

/// The first memory. A decision over ten instances needs 10 KiB; a list of a hundred whole instances fits.
const ARENA_BYTES: usize = 128 * 1024;

/// What memory can be grown by.
const PAGE_BYTES: usize = 64 * 1024;

/// The heap of a component. [`crate::export!`] makes it the global one.
#[derive(Debug)]
pub struct Heap(UnsafeCell<Dlmalloc<Source>>);

// SAFETY: there is one thread in a component.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty heap. The first that needs memory has the arena; any other only grows.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is for a static")]
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Dlmalloc::new_with_allocator(Source)))
    }
}

// SAFETY: the calls go to dlmalloc, which promises the same; there is one thread, so that none runs inside another.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(pointer, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(pointer, layout.size(), layout.align(), size) }
    }
}

#[repr(align(16))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: the arena is handed out once, to whoever sets `ARENA_IS_TAKEN`.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));

/// Beside the arena and not in a heap: there is one arena, however many heaps there are.
static ARENA_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Where the heap has its memory from: the arena, then new pages. Nothing goes back before the instance does.
#[derive(Debug)]
struct Source;

// SAFETY: what is handed out is of the size that is said, and nobody else's.
unsafe impl dlmalloc::Allocator for Source {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if size <= ARENA_BYTES && !ARENA_IS_TAKEN.swap(true, Ordering::Relaxed) {
            return (ARENA.0.get().cast(), ARENA_BYTES, 0);
        }
        let pages = size.div_ceil(PAGE_BYTES);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return (ptr::null_mut(), 0, 0);
        }
        let address = before * PAGE_BYTES;
        // Memory that ends at the end of all addresses would end at address 0.
        let bytes = if address.wrapping_add(pages * PAGE_BYTES) == 0 { pages * PAGE_BYTES - 16 } else { pages * PAGE_BYTES };
        (ptr::with_exposed_provenance_mut(address), bytes, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE_BYTES
    }
}
