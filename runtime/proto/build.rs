//! Compiles the wire contract with protox, so that no system `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/manta.proto");
    let descriptors = protox::compile(["proto/manta.proto"], ["proto"])?;
    // A task's description is by far the largest message of its kind, and is handed from queue to queue.
    let boxed = "manta.v1.PeerMessage.message.push";
    tonic_prost_build::configure().bytes(".").boxed(boxed).compile_fds(descriptors)?;
    Ok(())
}
