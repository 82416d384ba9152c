//! Child processes without a shell: how a program is found, run with a bounded output, and stopped with every process in
//! its process group.

mod find;
mod function_program;
mod run;

pub(crate) use find::find_program;
pub(crate) use function_program::FunctionProgram;
pub(crate) use run::{ProgramRun, run_program};
