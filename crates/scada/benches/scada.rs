//! How much one core supervises and archives.

fn main() {
    divan::main();
}
