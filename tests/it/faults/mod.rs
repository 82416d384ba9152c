//! Failing disks and power cuts, against the program and real files. Linux only: the simulated disk is a preloaded
//! library.
#![cfg(target_os = "linux")]

mod clock_steps;
mod damaged_log;
mod failed_sync;
pub mod faulty_disk;
mod full_disk;
mod power_cut;
mod preload;
mod read_errors;
