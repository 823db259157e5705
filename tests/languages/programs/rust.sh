# needs: rustc
cat > main.rs <<'END'
#[path = "filters/demo.rs"]
mod demo;

fn main() {
    demo::install().unwrap();
    let error = std::fs::create_dir("there").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    println!("confined");
    unsafe extern "C" {
        fn personality(persona: std::ffi::c_ulong) -> std::ffi::c_int;
    }
    unsafe { personality(0x123456789) };
}
END
rustc --edition 2021 -D warnings main.rs && exec ./main
