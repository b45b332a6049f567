//! Trees, from restic's JSON to ours.

use rustic_core::DataId;
use rustic_core::repofile::Tree;

use super::node;
use crate::format::node::{Node, NodeKind};

/// The entries of a tree in the order of ours.
///
/// Trees with two entries of one name exist: rustic once wrote a link and the folder behind it. A folder counts more
/// than anything else then, as only it leads on.
///
/// # Errors
/// What is wrong with it.
pub(super) fn entries(json: &[u8], length: &dyn Fn(&DataId) -> Option<u32>) -> Result<Vec<Node>, String> {
    let tree: Tree = serde_json::from_slice(json).map_err(|error| format!("it is no tree: {error}"))?;
    let mut nodes = tree.nodes.iter().map(|node| node::ours(node, length)).collect::<Result<Vec<_>, _>>()?;
    let is_folder = |node: &Node| matches!(node.kind, NodeKind::Directory { .. });
    nodes.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| is_folder(b).cmp(&is_folder(a))));
    nodes.dedup_by(|b, a| a.name == b.name);
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_in_our_order_and_a_name_stands_for_one_of_them() {
        let tree = format!(
            r#"{{"nodes":[{{"name":"b","type":"fifo"}},{{"name":"a","type":"symlink","linktarget":"x"}},
               {{"name":"a","type":"dir","subtree":"{}"}},{{"name":"a.b","type":"fifo"}}]}}"#,
            "01".repeat(32)
        );
        let nodes = entries(tree.as_bytes(), &|_| None).unwrap();
        let names: Vec<_> = nodes.iter().map(|node| String::from_utf8_lossy(&node.name).into_owned()).collect();
        assert_eq!(names, ["a", "a.b", "b"]);
        assert!(matches!(nodes[0].kind, NodeKind::Directory { .. }));
    }

    #[test]
    fn what_is_no_tree_or_leads_elsewhere_is_an_error() {
        for text in
            ["", "{}x", "[]", r#"{"nodes":[{"name":"..","type":"fifo"}]}"#, r#"{"nodes":[{"name":"a","type":"dir"}]}"#]
        {
            assert!(entries(text.as_bytes(), &|_| None).is_err(), "{text}");
        }
        assert_eq!(entries(br#"{"nodes":null}"#, &|_| None), Ok(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = entries(&bytes, &|_| None);
        }
    }
}
