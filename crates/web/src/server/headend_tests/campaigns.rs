//! Firmware campaigns over the API.

use super::*;

#[tokio::test]
async fn campaigns_are_begun_followed_and_changed_by_operators_only() {
    const IMAGE: &str = "application/octet-stream";
    let desk = SmallDesk::with_meters(3);
    let running = start(Some(Arc::clone(&desk)), Some(SECRET)).await;
    let path = format!("{API}/campaigns");
    let begin = format!("{path}?version=2.0.1&meters=1,2&stages=1,100%25");
    let begun = running.post(&begin, IMAGE, "an image").await;
    assert_eq!(
        (begun.status, &begun.body["state"]),
        (201, &json!("running"))
    );
    assert!(begun.head.contains("location: /api/v1/headend/campaigns/7"));
    assert_eq!(running.get(&path).await.body[0]["version"], "2.0.1");
    assert_eq!(running.get(&format!("{path}/7")).await.body["id"], 7);
    for action in ["pause", "resume", "abort"] {
        let changed = running.post(&format!("{path}/7/{action}"), IMAGE, "").await;
        assert_eq!(changed.status, 200, "{action}: {}", changed.body);
    }
    let back = format!("{path}/7/rollback?version=1.9.9");
    assert_eq!(running.post(&back, IMAGE, "old image").await.status, 201);
    let done = [
        "night shift brings 2.0.1 of 8 bytes to Some(\"1,2\")",
        "night shift: Pause 7",
        "night shift: Resume 7",
        "night shift: Abort 7",
        "night shift rolls 7 back to 1.9.9, 9",
    ];
    assert_eq!(desk.memory().audit, done);
    let cases = [
        (running.post(&path, IMAGE, "x").await, 400, "bad_query"),
        (
            running.post(&format!("{begin}&speed=1"), IMAGE, "x").await,
            400,
            "bad_query",
        ),
        (running.post(&begin, JSON, "{}").await, 415, "media_type"),
        (
            running.post_with(&begin, "", IMAGE, "x").await,
            401,
            "no_token",
        ),
        (running.get(&format!("{path}/8")).await, 404, "unknown"),
        (running.get(&format!("{path}/07")).await, 404, "unknown"),
        (
            running.get(&format!("{path}/7/pause")).await,
            405,
            "method_not_allowed",
        ),
    ];
    for (heard, status, code) in cases {
        assert_eq!(
            (heard.status, heard.code()),
            (status, code),
            "{}",
            heard.body
        );
    }
    assert_eq!(
        desk.memory().audit.len(),
        done.len(),
        "nothing else was done"
    );
}
