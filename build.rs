//! Compresses the debug information of the program, which would otherwise be larger than the code of a Lambda function
//! may be (250 MiB). Backtraces keep their lines.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let os = std::env::var_os("CARGO_CFG_TARGET_OS");
    if os.is_some_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
}
