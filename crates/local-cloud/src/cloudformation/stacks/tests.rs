use super::*;
use crate::test_cloud::TestCloud;

/// One write for each change: nothing can come between a status and its event.
#[tokio::test]
async fn a_change_and_its_event_are_one_write() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let stack = new(&cloud, "s");
    stacks(&cloud).insert(stack.key(), &stack).unwrap();
    let resource = Resource {
        logical: "r".to_owned(),
        status: ResourceStatus::Created,
        ..Resource::default()
    };
    for (n, expected) in [
        (1, "s CREATE_COMPLETE"),
        (2, "r CREATE_COMPLETE"),
        (3, "r CREATE_COMPLETE"),
    ] {
        at.refuse_writes_after(1);
        match n {
            1 => set_status(&cloud, stack.key(), StackStatus::Created, None),
            2 => set_resource(&cloud, stack.key(), &resource),
            _ => put_with_events(&cloud, &stack, std::slice::from_ref(&resource)),
        }
        .unwrap();
        at.accept_writes();
        let found = history(&cloud, &stack).unwrap();
        assert_eq!(found.len(), n);
        let last = &found[0];
        assert_eq!(
            format!("{} {}", last.logical_resource_id, last.resource_status),
            expected
        );
    }
}
