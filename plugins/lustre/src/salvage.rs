//! The pieces of a container as it names them itself, for when its manifest is lost: by its footer, or from head to head.
//! Nothing here reads payload.

use crate::format::{
    BLOCK_BYTES, CONTAINER_BYTES_MAX, ContainerId, FileName, Footer, Head, PIECES_MAX, round_up,
};
use crate::io::{Directory, FileKind};
use cascade_tier::Record;
use std::io;
use std::os::fd::OwnedFd;

/// How long a container is; `None` if it is not there.
pub(crate) fn length(directory: &dyn Directory, id: ContainerId) -> io::Result<Option<u64>> {
    match directory.open(&FileName::Container(id).to_string(), FileKind::Records) {
        Ok(file) => Ok(Some(directory.look(&file)?.length)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The pieces that a container names.
pub(crate) fn pieces(directory: &dyn Directory, id: ContainerId) -> io::Result<Vec<Record>> {
    let file = match directory.open(&FileName::Container(id).to_string(), FileKind::Records) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let bytes = directory.look(&file)?.length.min(CONTAINER_BYTES_MAX);
    match by_footer(directory, &file, id, bytes)? {
        Some(records) => Ok(records),
        None => by_heads(directory, &file, id, bytes),
    }
}

fn by_footer(
    directory: &dyn Directory,
    file: &OwnedFd,
    id: ContainerId,
    bytes: u64,
) -> io::Result<Option<Vec<Record>>> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    let Some(last) = bytes.checked_sub(BLOCK_BYTES) else { return Ok(None) };
    directory.read_at(file, &mut block, last)?;
    let Some(footer) = Footer::decode(&block, id, bytes) else { return Ok(None) };
    // As long as the footer says, which was compared with the length of the file.
    let mut lines = vec![0; footer.lines_bytes() as usize];
    let count = directory.read_at(file, &mut lines, footer.offset)?;
    let records: Vec<Record> = footer.pieces(&lines[..count]).collect();
    // With damaged lines in it the heads may know more.
    Ok((records.len() == footer.pieces as usize).then_some(records))
}

fn by_heads(
    directory: &dyn Directory,
    file: &OwnedFd,
    id: ContainerId,
    bytes: u64,
) -> io::Result<Vec<Record>> {
    let (mut records, mut offset) = (Vec::new(), 0);
    let mut block = vec![0; BLOCK_BYTES as usize];
    while offset + BLOCK_BYTES <= bytes {
        if directory.read_at(file, &mut block, offset)? < block.len() {
            break;
        }
        match Head::decode(&block, id, offset) {
            Some(head) => {
                debug_assert!(head.pieces.len() <= PIECES_MAX);
                offset += round_up(head.record_bytes);
                records.extend(head.pieces);
            }
            // A damaged head hides where the next one is: it is looked for.
            None => offset += BLOCK_BYTES,
        }
    }
    // What ends behind the end of the file was cut off.
    records.retain(|record| record.extent.words[2] + record.extent.words[3] <= bytes);
    Ok(records)
}
