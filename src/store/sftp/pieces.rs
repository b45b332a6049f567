//! Many requests on their way at once: what makes a distant server as fast as a near one.

use std::future::Future;
use std::io::SeekFrom;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use openssh_sftp_client::file::File;
use tokio::io::AsyncSeek as _;
use tokio::task::JoinSet;

use super::ssh::{BODY_TIMEOUT, limit};
use super::trouble::{Failure, SshTrouble};

/// Bytes of one piece. Servers that want smaller ones get them.
const PIECE_BYTES: usize = 128 << 10;

/// Pieces on their way for one caller. More than ssh has room for on its connection would only wait.
const IN_FLIGHT: usize = 32;

/// Does `work` for every task, many at once, and hands on what comes of it in any order. All that was begun has ended
/// when this returns; after a failure nothing more is begun.
pub(super) async fn at_once<I, T, F>(
    tasks: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> F,
    mut take: impl FnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    F: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    let mut running = JoinSet::new();
    let mut tasks = tasks.into_iter().fuse();
    let mut result = Ok(());
    loop {
        while running.len() < IN_FLIGHT && result.is_ok() {
            let Some(task) = tasks.next() else { break };
            running.spawn(work(task));
        }
        let Some(done) = running.join_next().await else { return result };
        let done = match done {
            Ok(Ok(done)) => take(done),
            Ok(Err(failure)) => Err(failure),
            Err(error) => Err(Failure::Broken(SshTrouble::Lost, error.to_string())),
        };
        result = result.and(done);
    }
}

fn seek(file: &mut File, offset: u64) -> Result<(), Failure> {
    Pin::new(file).start_seek(SeekFrom::Start(offset)).map_err(|error| Failure::Said(error.to_string()))
}

/// The offsets and lengths of the pieces of so many bytes.
fn pieces(length: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length).step_by(PIECE_BYTES).map(move |start| (start, PIECE_BYTES.min(length - start)))
}

async fn write_piece(mut file: File, offset: usize, piece: Bytes) -> Result<(), Failure> {
    seek(&mut file, offset as u64)?;
    // The copy that is written from is shared: nothing of it is copied once more.
    limit(BODY_TIMEOUT, file.write_all_zero_copy(&mut [piece])).await
}

/// Writes all of `bytes` into a file, from its beginning.
pub(super) async fn write(file: &File, bytes: &Bytes) -> Result<(), Failure> {
    let work = |(start, length)| write_piece(file.clone(), start, bytes.slice(start..start + length));
    at_once(pieces(bytes.len()), work, Ok).await
}

/// Up to `length` bytes; fewer only at the end of the file.
async fn read_piece(mut file: File, offset: u64, length: usize) -> Result<BytesMut, Failure> {
    let mut piece = BytesMut::new();
    while piece.len() < length {
        // Not where the last read seems to have ended: a server may give less than was asked for.
        seek(&mut file, offset.saturating_add(piece.len() as u64))?;
        let rest = length - piece.len();
        let wanted = u32::try_from(rest).unwrap_or(u32::MAX);
        match limit(BODY_TIMEOUT, file.read(wanted, BytesMut::with_capacity(rest))).await? {
            Some(bytes) if bytes.len() > rest => {
                return Err(Failure::Broken(SshTrouble::Gibberish, "more was sent than was asked for".to_owned()));
            }
            Some(bytes) if piece.is_empty() => piece = bytes,
            Some(bytes) if !bytes.is_empty() => piece.extend_from_slice(&bytes),
            _ => break,
        }
    }
    Ok(piece)
}

/// `length` bytes from `offset`; whether the file had them all.
pub(super) async fn read(file: &File, offset: u64, length: usize) -> Result<(Vec<u8>, bool), Failure> {
    let mut bytes = vec![0; length];
    let mut is_whole = true;
    let work = |(start, length): (usize, usize)| {
        let piece = read_piece(file.clone(), offset.saturating_add(start as u64), length);
        async move { piece.await.map(|piece| (start, length, piece)) }
    };
    at_once(pieces(length), work, |(start, length, piece): (usize, usize, BytesMut)| {
        match bytes.get_mut(start..start + length) {
            Some(place) if piece.len() == length => place.copy_from_slice(&piece),
            _ => is_whole = false,
        }
        Ok(())
    })
    .await?;
    Ok((bytes, is_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_are_the_whole() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7] {
            let mut end = 0;
            for (start, piece) in pieces(length) {
                assert_eq!(start, end);
                assert!((1..=PIECE_BYTES).contains(&piece));
                end += piece;
            }
            assert_eq!(end, length);
        }
    }

    #[test]
    fn what_has_begun_is_waited_for_and_the_first_failure_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let begun = std::cell::Cell::new(0);
        let work = |number: usize| {
            begun.set(begun.get() + 1);
            let ended = std::sync::Arc::clone(&ended);
            async move {
                tokio::task::yield_now().await;
                ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number == 3 { Err(Failure::Full) } else { Ok(()) }
            }
        };
        assert_eq!(runtime.block_on(at_once(0..1000, work, Ok)), Err(Failure::Full));
        assert_eq!(begun.get(), ended.load(std::sync::atomic::Ordering::Relaxed));
        assert!(begun.get() < 100, "nothing is begun after a failure: {}", begun.get());
    }
}
