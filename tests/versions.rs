//! A bucket of another S3 server, which keeps older versions: everything works there, and the doctor says that deleting
//! frees nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SECRET: &str = "canary-secret-of-moto";

/// moto on a free port of the loopback; stops when it goes.
struct Moto {
    child: Child,
    python: PathBuf,
    endpoint: String,
}

impl Moto {
    fn start() -> Self {
        let python = std::env::var_os("BK_MOTO_PYTHON").expect("run the tests by tests/run, which prepares the server");
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(&python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self { child, python: python.into(), endpoint: format!("http://127.0.0.1:{port}") };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(60), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    /// Runs lines of Python with a client of the server called `s3`; gives what they print.
    fn python(&self, lines: &str) -> String {
        let script = format!(
            "import boto3\n\
             s3 = boto3.client('s3', endpoint_url='{}', region_name='us-east-1', aws_access_key_id='a', \
             aws_secret_access_key='b')\n{lines}",
            self.endpoint,
        );
        let output = Command::new(&self.python).args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a bucket that keeps older versions, or not.
    fn make_bucket(&self, name: &str, versions: bool) {
        self.python(&format!("s3.create_bucket(Bucket='{name}')\n"));
        if versions {
            let status = "VersioningConfiguration={'Status': 'Enabled'}";
            self.python(&format!("s3.put_bucket_versioning(Bucket='{name}', {status})\n"));
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn everything_works_in_a_bucket_with_and_without_versions_and_the_doctor_tells_them_apart() {
    let moto = Moto::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("source")).unwrap();
    for number in 0..30 {
        std::fs::write(path(&format!("source/{number}")), format!("{number}\n").repeat(5000)).unwrap();
    }
    std::fs::write(path("credentials"), format!("AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY={SECRET}\n")).unwrap();
    for (bucket, versions) in [("plain", false), ("versioned", true)] {
        moto.make_bucket(bucket, versions);
        let here = folder.path().to_str().unwrap();
        let config = format!(
            "[family]\nkey-file = \"{here}/key\"\n[repository.far]\nlocation = \"s3://{bucket}/host1\"\n\
             endpoint = \"{}\"\ncredentials-file = \"{here}/credentials\"\nkeep = {{ last = 1 }}\n\
             sse = \"aws:kms\"\nsse-kms-key = \"alias/backups\"\nstorage-class = \"STANDARD_IA\"\n\
             [profile.source]\nroot = \"{here}/source\"\n",
            moto.endpoint
        );
        std::fs::write(path("bk.toml"), config).unwrap();
        let run = |code: i32, arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bk"));
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path());
            command.env("BK_CONFIG", path("bk.toml")).env("BK_DATA_DIR", path("data"));
            let output = command.stdin(Stdio::null()).current_dir(folder.path()).args(arguments).output().unwrap();
            let said =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            assert_eq!(output.status.code(), Some(code), "bk {arguments:?}\n{said}");
            assert!(!said.contains("canary"), "{said}");
            said.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        run(0, &["init"]);
        for round in 0..5 {
            std::fs::write(path("source/changing"), format!("{round}\n").repeat(90_000)).unwrap();
            run(0, &["backup", "source"]);
        }
        // Every object was put as the configuration says.
        let seen = moto.python(&format!(
            "for one in s3.list_objects_v2(Bucket='{bucket}')['Contents']:\n    \
             head = s3.head_object(Bucket='{bucket}', Key=one['Key'])\n    \
             print(head['ServerSideEncryption'], head['SSEKMSKeyId'], head['StorageClass'])\n"
        ));
        assert!(seen.lines().count() > 10, "{seen}");
        assert!(seen.lines().all(|line| line == "aws:kms alias/backups STANDARD_IA"), "{seen}");
        run(0, &["forget"]);
        run(0, &["prune", "--instant-delete", "--no-other-writer"]);
        run(0, &["check", "--read-data"]);
        run(0, &["restore", "source", "--to", bucket]);
        let restored = path(bucket).join("source").join(path("source").strip_prefix("/").unwrap());
        for name in ["0", "29", "changing"] {
            assert_eq!(std::fs::read(restored.join(name)).unwrap(), std::fs::read(path("source").join(name)).unwrap());
        }
        let said = run(0, &["doctor", "--repo", "far"]);
        assert!(said.contains("an object was written, read back, listed, looked at and deleted"), "{said}");
        assert_eq!(said.contains("it keeps what is deleted, as older versions"), versions, "{said}");
        let told = run(0, &["--json", "doctor", "--repo", "far"]);
        assert!(told.contains(&format!("\"keeps_deleted\":{versions}")), "{told}");
    }
}
