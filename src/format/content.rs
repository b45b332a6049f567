//! Contents: references to blobs, folded into list blobs when they are many. bk-repository(7), "Content".

use super::DecodeError;
use super::cbor::{Reader, Writer};
use super::node::{Content, Part};
use crate::id::BlobId;

/// More parts than this are folded.
const MAX_PARTS: usize = 1024;
const MIN_LIST: usize = 128;
const MAX_LIST: usize = 4096;
/// Deepest nesting of list blobs.
pub const MAX_LEVEL: u8 = 7;

/// Encodes a content at the end of `writer`; the same bytes make up a list blob.
pub fn encode(content: &Content, writer: &mut Writer) {
    writer.array(3).uint(content.level);
    let mut ids = Vec::with_capacity(content.parts.len() * 32);
    for part in &content.parts {
        ids.extend_from_slice(&part.id.0);
    }
    writer.bytes(&ids).array(content.parts.len());
    for part in &content.parts {
        writer.uint(part.length);
    }
}

/// Reads a content.
///
/// # Errors
/// [`DecodeError`] for anything else, for levels too deep and for lengths that do not add up.
pub fn decode(reader: &mut Reader<'_>) -> Result<Content, DecodeError> {
    reader.tuple::<3>()?;
    let level = reader.small()?;
    if level > MAX_LEVEL {
        return Err(reader.error("a content is nested too deeply"));
    }
    let (ids, rest) = reader.bytes()?.as_chunks::<32>();
    if !rest.is_empty() || reader.array()? != ids.len() {
        return Err(reader.error("a content has not as many lengths as ids"));
    }
    let mut parts = Vec::with_capacity(ids.len());
    for id in ids {
        parts.push(Part { id: BlobId(*id), length: reader.uint()? });
    }
    let content = Content { level, parts };
    if content.length().is_none() {
        return Err(reader.error("the lengths of a content do not add up"));
    }
    Ok(content)
}

/// Reads the list blob below a part of a content of level `level`.
///
/// # Errors
/// [`DecodeError`] when it is no content of one level less, or not of the length that the part says.
pub fn decode_list(blob: &[u8], level: u8, length: u64) -> Result<Content, DecodeError> {
    let mut reader = Reader::new(blob);
    let content = decode(&mut reader)?;
    reader.end()?;
    if content.level.checked_add(1) != Some(level) || content.length() != Some(length) {
        return Err(reader.error("a content list does not fit what refers to it"));
    }
    Ok(content)
}

/// Folds `parts` until no level has more than 1,024; `store` keeps each list blob and gives its id.
///
/// # Errors
/// What `store` returns.
pub fn fold<E>(parts: Vec<Part>, mut store: impl FnMut(Vec<u8>) -> Result<BlobId, E>) -> Result<Content, E> {
    let mut content = Content { level: 0, parts };
    while content.parts.len() > MAX_PARTS && content.level < MAX_LEVEL {
        let mut above = Vec::new();
        let mut list = Vec::new();
        let count = content.parts.len();
        for (at, part) in content.parts.into_iter().enumerate() {
            list.push(part);
            if list.len() >= MAX_LIST || at + 1 == count || (list.len() >= MIN_LIST && cuts_after(&part.id)) {
                let below = Content { level: content.level, parts: std::mem::take(&mut list) };
                let length = below.length().unwrap_or(u64::MAX);
                let mut writer = Writer::new();
                encode(&below, &mut writer);
                above.push(Part { id: store(writer.into_bytes())?, length });
            }
        }
        content = Content { level: content.level + 1, parts: above };
    }
    Ok(content)
}

fn cuts_after(id: &BlobId) -> bool {
    let [low, high, ..] = id.0;
    u16::from_le_bytes([low, high]).is_multiple_of(512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::convert::Infallible;

    fn parts(count: u64) -> Vec<Part> {
        (0..count).map(|at| Part { id: BlobId(*blake3::hash(&at.to_le_bytes()).as_bytes()), length: at + 1 }).collect()
    }

    fn unfold(content: Content, lists: &HashMap<BlobId, Vec<u8>>) -> Vec<Part> {
        if content.level == 0 {
            return content.parts;
        }
        let level = content.level;
        content
            .parts
            .into_iter()
            .flat_map(|part| unfold(decode_list(&lists[&part.id], level, part.length).unwrap(), lists))
            .collect()
    }

    #[test]
    fn folding_keeps_every_part_at_any_count() {
        for count in [0, 1, 1024, 1025, 5000, 700_000] {
            let mut lists = HashMap::new();
            let content = fold(parts(count), |blob| {
                let id = BlobId(*blake3::hash(&blob).as_bytes());
                lists.insert(id, blob);
                Ok::<_, Infallible>(id)
            });
            let content = content.unwrap();
            assert!(content.parts.len() <= MAX_PARTS);
            assert_eq!(unfold(content, &lists), parts(count), "{count} parts");
        }
    }

    #[test]
    fn a_list_of_another_level_or_length_is_refused() {
        let mut writer = Writer::new();
        encode(&Content { level: 0, parts: parts(2) }, &mut writer);
        let blob = writer.into_bytes();
        assert!(decode_list(&blob, 1, 3).is_ok());
        assert!(decode_list(&blob, 2, 3).is_err());
        assert!(decode_list(&blob, 1, 4).is_err());
    }
}
