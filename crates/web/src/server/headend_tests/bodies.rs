//! What comes in a body: how much, of which kind, and how slowly.

use super::*;

/// A request's head up to its headers, for what the body is not sent of.
fn head(path: &str, media_type: &str, rest: &str) -> String {
    format!(
        "POST {API}/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {SECRET}\r\n\
         content-type: {media_type}\r\n{rest}\r\n\r\n"
    )
}

#[tokio::test]
async fn bodies_are_bounded_and_of_one_kind() {
    let desk = SmallDesk::with_meters(3);
    let running = start(Some(Arc::clone(&desk)), Some(SECRET)).await;
    let over = |max: usize| format!("content-length: {}", max + 1);
    let cases = [
        (
            head("meters/import", "text/csv", &over(IMPORT_MAX)),
            413,
            "body_too_long",
        ),
        (head("orders", JSON, &over(ORDER_MAX)), 413, "body_too_long"),
        (
            head("orders/1/confirm", JSON, "content-length: 2"),
            413,
            "body_not_allowed",
        ),
        (
            head("orders/1/cancel", JSON, "transfer-encoding: chunked"),
            413,
            "body_not_allowed",
        ),
        (
            head(
                "orders",
                "text/plain",
                "connection: close\r\ncontent-length: 0",
            ),
            415,
            "media_type",
        ),
        (
            head(
                "meters/import",
                JSON,
                "connection: close\r\ncontent-length: 0",
            ),
            415,
            "media_type",
        ),
        (
            head("orders", JSON, "connection: close\r\ncontent-length: 0"),
            400,
            "bad_json",
        ),
    ];
    for (request, status, code) in cases {
        let heard = running.raw(request.as_bytes()).await;
        assert_eq!((heard.status, heard.code()), (status, code), "{request}");
    }

    // Nobody announces the length of chunks, so they are counted.
    let mut chunks = head("orders", JSON, "transfer-encoding: chunked").into_bytes();
    let chunk = "x".repeat(ORDER_MAX + 1);
    chunks.extend(format!("{:x}\r\n{chunk}", chunk.len()).bytes());
    let heard = running.raw(&chunks).await;
    assert_eq!((heard.status, heard.code()), (413, "body_too_long"));

    let not_utf8 = b"name\nMill Lane\nH\xfcgel\n";
    let rest = format!("connection: close\r\ncontent-length: {}", not_utf8.len());
    let mut request = head("meters/import", "text/csv", &rest).into_bytes();
    request.extend(not_utf8);
    let heard = running.raw(&request).await;
    assert_eq!(
        (heard.status, &heard.body["faults"][0]["line"]),
        (422, &json!(3))
    );
    assert!(desk.memory().audit.is_empty(), "{:?}", desk.memory().audit);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up_and_only_so_many_are_read_at_a_time() {
    let desk = SmallDesk::with_meters(3);
    let router = router(Arc::clone(&desk));
    let begun = Arc::new(Notify::new());
    let stalled = || {
        let begun = Arc::clone(&begun);
        Body::from_stream(futures_util::stream::poll_fn(move |_| {
            begun.notify_one();
            std::task::Poll::<Option<io::Result<Bytes>>>::Pending
        }))
    };
    let mut stalling = Vec::new();
    for _ in 0..BODIES_MAX {
        let request = post_of("meters/import", "text/csv", stalled());
        stalling.push(tokio::spawn(ask(router.clone(), request)));
        begun.notified().await;
    }
    let order = || post_of("orders", JSON, Body::from(order_of("read")));
    let (status, body) = ask(router.clone(), order()).await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("\"busy\""), "{body}");
    for task in stalling {
        let (status, body) = task.await.unwrap();
        assert_eq!(status, 408, "{body}");
    }
    assert_eq!(ask(router, order()).await.0, 201);
    assert_eq!(desk.memory().audit, ["night shift ordered 1"]);
}
