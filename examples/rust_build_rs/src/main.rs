//! Starts a command confined: the filter is put in force between fork and exec.

mod untrusted {
    include!(concat!(env!("OUT_DIR"), "/untrusted.rs"));
}

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() -> std::io::Result<()> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let mut child = Command::new(&words[0]);
    child.args(&words[1..]);
    // SAFETY: install allocates nothing and takes no lock.
    let status = unsafe { child.pre_exec(untrusted::install) }.status()?;
    println!("host: {status}");
    Ok(())
}
