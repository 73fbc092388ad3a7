//! A new migration file must rebuild the code that embeds it.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
