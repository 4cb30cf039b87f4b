//! Dropping what is of no use: the name is free again, views stay.

mod support;

use cascade_client::{Committed, Lineage, Lookup, Reason, Stored};
use support::{Node, bytes, id, soon};

#[test]
fn a_name_that_was_discarded_takes_a_piece_of_another_length() {
    let node = Node::start(1);
    let client = node.connect();
    assert_eq!(client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 100), soon()).unwrap(), Committed::Fresh);
    assert!(client.discard(&id(1)).unwrap());
    client.flush(soon()).unwrap();
    assert_eq!(client.get_into(&id(1), &mut [0; 4096]).unwrap(), Lookup::Miss(Reason::Absent));
    assert_eq!(client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap(), Committed::Fresh);
    let mut got = [0; 4096];
    assert_eq!(client.get_into(&id(1), &mut got).unwrap(), Lookup::Hit(4096));
    assert_eq!(got[..], bytes(1, 4096));
}

#[test]
fn what_is_still_on_its_way_is_discarded_when_it_arrives() {
    let node = Node::start(1);
    let client = node.connect();
    assert_eq!(client.put(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap(), Stored::Posted);
    assert!(client.discard(&id(1)).unwrap());
    client.flush(soon()).unwrap();
    assert!(!client.contains(&id(1)).unwrap());
}

#[test]
fn what_is_not_there_is_not_discarded() {
    let node = Node::start(1);
    assert!(!node.connect().discard(&id(1)).unwrap());
}
