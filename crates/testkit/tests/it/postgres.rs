//! Servers of PostgreSQL: shared, private, stopped, started again, and gone with the process that asked for them.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use keyrack_testkit::postgres::{self, PrivateCluster};
use keyrack_testkit::process::{Finished, Program};

/// Runs one test of this binary in another process, with the settings given.
fn this_test(name: &str) -> Program {
    Program::new(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture", "--test-threads=1"])
}

fn url_printed(finished: &Finished) -> &str {
    finished.stdout.lines().find_map(|line| line.strip_prefix("database ")).unwrap()
}

#[test]
fn many_threads_get_a_database_each_on_one_server() {
    if !postgres::is_available() {
        return;
    }
    let threads: Vec<_> = (0..12).map(|_| std::thread::spawn(|| postgres::fresh_database().unwrap())).collect();
    let urls: HashSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(urls.len(), 12);
    let servers: HashSet<_> = urls.iter().map(|url| url.rsplit_once('/').unwrap().0).collect();
    assert_eq!(servers.len(), 1, "{urls:?}");
}

#[test]
fn a_private_server_keeps_its_data_and_its_url_over_a_stop() {
    let Some(mut cluster) = PrivateCluster::start() else { return };
    let url = cluster.fresh_database();
    let database = url.rsplit_once('/').unwrap().1.to_owned();
    assert_eq!(cluster.url(&database), url);
    assert_eq!(cluster.sql(&database, "create table kept (n int); insert into kept values (7)"), "");

    cluster.stop();
    let refused = TcpStream::connect(("127.0.0.1", cluster.port())).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    cluster.start_again();
    assert_eq!(cluster.sql(&database, "select n, n is null from kept"), "7|f");
    assert!(cluster.log().contains("ready to accept connections"), "{}", cluster.log());
    assert!(cluster.socket_url(&database).contains(&cluster.directory().display().to_string()));
    assert!(cluster.directory().join(format!(".s.PGSQL.{}", cluster.port())).exists());

    let directory = cluster.directory().to_owned();
    drop(cluster);
    assert!(!directory.exists());
}

#[test]
fn a_private_server_that_crashes_keeps_what_it_was_to_keep() {
    let Some(mut cluster) = PrivateCluster::start() else { return };
    cluster.sql("postgres", "set synchronous_commit = on; create table kept (n int); insert into kept values (7)");
    cluster.crash();
    cluster.start_again();
    assert_eq!(cluster.sql("postgres", "select n from kept"), "7");
    assert!(cluster.log().contains("automatic recovery in progress"), "{}", cluster.log());
}

#[test]
fn the_text_of_two_cases_sorts_as_people_sort_it() {
    let Some(cluster) = PrivateCluster::start() else { return };
    let provider = cluster.sql("postgres", "select datlocprovider from pg_database where datname = 'postgres'");
    let sorted = cluster.sql("postgres", "select string_agg(t, '' order by t) from unnest(array['B', 'c', 'a']) t");
    assert_eq!(sorted, if provider == "i" { "aBc" } else { "Bac" });
}

/// Not a test by itself: the process that the next test kills.
#[test]
fn holds_a_server() {
    if std::env::var_os("TESTKIT_HOLD").is_none() {
        return;
    }
    let cluster = PrivateCluster::start().unwrap();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\nserver {} {}", cluster.port(), cluster.directory().display()).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_server_ends_with_a_process_that_was_killed() {
    if !postgres::is_available() || std::env::var_os("KEYRACK_TEST_POSTGRES").is_some() {
        return;
    }
    let mut holder = this_test("postgres::holds_a_server").env("TESTKIT_HOLD", "1").start();
    let line = holder.wait_line(|line| line.starts_with("server "));
    let [_, port, directory] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let mut connection = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    assert!(Path::new(directory).exists());

    holder.kill();
    assert!(!holder.wait().success());
    // The server's end closes the connection, perhaps with a word of farewell. Its files go right after, which nothing tells
    // us of.
    connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let ended = connection.read_to_end(&mut Vec::new());
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    let until = Instant::now() + Duration::from_mins(1);
    while Path::new(directory).exists() {
        assert!(Instant::now() < until, "{directory} is left over");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Not a test by itself: asks for a database where the next tests have arranged what there is.
#[test]
fn asks_for_a_database() {
    if std::env::var_os("TESTKIT_ASK").is_none() {
        return;
    }
    let mut stdout = std::io::stdout();
    for _ in 0..2 {
        writeln!(stdout, "\ndatabase {}", postgres::fresh_database().as_deref().unwrap_or("none")).unwrap();
    }
}

#[test]
fn a_server_that_is_given_is_used() {
    let Some(cluster) = PrivateCluster::start() else { return };
    let given = format!("{}?application_name=given", cluster.url("postgres"));
    let asked = this_test("postgres::asks_for_a_database").env("TESTKIT_ASK", "1").env("KEYRACK_TEST_POSTGRES", given);
    let asked = asked.run().success();
    let url = url_printed(&asked);
    assert!(url.starts_with(&cluster.url("keyrack_")) && url.ends_with("?application_name=given"), "{url}");
    assert_eq!(cluster.sql("postgres", "select count(*) from pg_database where datname like 'keyrack_%'"), "2");
}

#[test]
fn a_given_server_that_does_not_answer_is_a_failure() {
    if !postgres::is_available() {
        return;
    }
    let nowhere = "postgres://postgres@127.0.0.1:1/postgres";
    let asked =
        this_test("postgres::asks_for_a_database").env("TESTKIT_ASK", "1").env("KEYRACK_TEST_POSTGRES", nowhere);
    let asked = asked.run().expect_code(101);
    assert!(asked.stderr.contains("the server of KEYRACK_TEST_POSTGRES made no database"), "{}", asked.stderr);
}
