//! Has seccompgen compile the policy whenever it changes.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=untrusted.yml");
    let out = std::env::var_os("OUT_DIR").unwrap();
    let status = Command::new("seccompgen")
        .args(["build", "untrusted.yml", "--format", "rust", "-o"])
        .arg(out)
        .status()
        .expect("needs seccompgen: pip install seccompgen");
    assert!(status.success(), "seccompgen: {status}");
}
