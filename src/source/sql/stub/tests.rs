use std::{sync::Arc, time::Duration};

use super::{Server, Stub};
use crate::{
    cursor::Cursor,
    error::{Kind, Result},
    row::{RowBatch, Value},
    source::{
        DatabaseOptions, GateLimits, Query, Requester, Source, Spec,
        sql::{pool::Pool, table::Table},
    },
};

/// A server with `rows` rows, its driver, and the source that reads them.
async fn serving(rows: i64) -> (Server, Arc<Stub>, Arc<dyn Source>) {
    let server = Server::default();
    server.world().name_type = "text";
    server.world().rows = (1..=rows).map(|id| (id, format!("name {id}"))).collect();

    let pool = Arc::new(Pool::new(server.clone(), GateLimits::default(), Duration::from_secs(10)));
    let driver = Arc::new(Stub { pool, options: DatabaseOptions::new("stub:") });
    let (source, _) = Table::made(&driver, &Spec::of("item")).await.unwrap();
    (server, driver, source)
}

/// Reads at most 100 rows behind `after`; returns them, and whether the list ends with them.
async fn run(source: &Arc<dyn Source>, after: Cursor) -> Result<(Vec<(i64, String)>, bool)> {
    let query = Query {
        after,
        limit: 100,
        conditions: Arc::default(),
        is_filtered: false,
        session: None,
        requester: Requester::default(),
    };
    let mut batches: Vec<RowBatch> = vec![];
    let ended = source.rows(query, &mut batches).await?.ended;

    let mut rows = vec![];
    for batch in batches {
        batch.each(0..batch.len(), |_, values| {
            match values {
                [Value::Integer(id), Value::Text(name)] => rows.push((*id, String::from_utf8_lossy(name).into_owned())),
                [Value::Integer(id), Value::Formless(Some(text))] => {
                    rows.push((*id, format!("{} without a form", String::from_utf8_lossy(text))));
                }
                other => panic!("{other:?}"),
            }
            Ok(())
        })?;
    }
    Ok((rows, ended))
}

/// Reads the whole list, run after run; returns the ids.
async fn whole(source: &Arc<dyn Source>) -> Result<Vec<i64>> {
    let mut ids: Vec<i64> = vec![];
    loop {
        let after = ids.last().map_or(Ok(Cursor::start()), |id| Cursor::after(&[Value::Integer(*id)]))?;
        let (rows, ended) = run(source, after).await?;
        ids.extend(rows.iter().map(|row| row.0));
        if ended {
            return Ok(ids);
        }
    }
}

#[tokio::test]
async fn a_list_over_it_is_whole_and_in_order_across_several_runs() {
    let (server, _, source) = serving(2_500).await;
    assert_eq!(source.columns().iter().map(|column| &*column.name).collect::<Vec<_>>(), ["id", "name"]);
    assert_eq!(source.order(), ["id"]);

    assert_eq!(whole(&source).await.unwrap(), (1..=2_500).collect::<Vec<_>>());
    assert_eq!(server.world().queries, 26);
    assert_eq!(server.world().connections, 1);
}

#[tokio::test]
async fn a_connection_that_was_lost_while_it_was_idle_is_replaced_without_a_word() {
    let (server, driver, source) = serving(250).await;
    assert_eq!(whole(&source).await.unwrap().len(), 250);
    assert_eq!(server.world().connections, 1);

    server.world().restarts += 1;
    assert_eq!(whole(&source).await.unwrap(), (1..=250).collect::<Vec<_>>());
    assert_eq!((server.world().connections, driver.pool.state().retries), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_will_pass_is_tried_again_twice_and_then_told() {
    let (server, driver, source) = serving(250).await;
    server.world().conflicts = 2;
    assert_eq!(whole(&source).await.unwrap(), (1..=250).collect::<Vec<_>>());
    assert_eq!(driver.pool.state().retries, 2);

    server.world().conflicts = 3;
    let told = whole(&source).await.unwrap_err();
    assert_eq!((told.kind(), told.message()), (Kind::Unavailable, "the stub says Conflict"));
    assert_eq!((server.world().conflicts, driver.pool.state().retries), (0, 4));
}

#[tokio::test]
async fn a_read_of_a_table_that_is_not_what_it_was_fails_as_one_of_another_schema() {
    let (server, _, source) = serving(250).await;
    server.world().name_type = "varchar";
    assert_eq!(run(&source, Cursor::start()).await.unwrap_err().kind(), Kind::Schema);

    server.world().name_type = "text";
    assert_eq!(whole(&source).await.unwrap().len(), 250);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_fails_no_row_and_stands_as_the_databases_text() {
    for at in [1, 30, 100, 101, 250] {
        let (server, _, source) = serving(250).await;
        server.world().raises = Some(at);
        assert_eq!(whole(&source).await.unwrap(), (1..=250).collect::<Vec<_>>(), "{at}");

        let (rows, _) = run(&source, Cursor::after(&[Value::Integer(at - 1)]).unwrap()).await.unwrap();
        assert_eq!(rows[0], (at, format!("name {at} without a form")));
        assert!(rows[1..].iter().all(|(id, name)| *name == format!("name {id}")));
    }
}
