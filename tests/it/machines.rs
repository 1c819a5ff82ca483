//! Redis on several machines, and over TLS: a cluster, Sentinel, an authority that signs
//! certificates.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    firewall::Firewall,
    servers::{Kind, Server, free_port},
    support::until,
};

/// A Redis's answer to a command.
pub fn cli(server: &Server, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &server.port.to_string()]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Has a Redis or a Memcached carry out a command.
pub fn order(server: &Server, redis: &[&str], memcached: &str) {
    if server.kind == Kind::Redis {
        cli(server, redis);
        return;
    }
    let mut node = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    node.write_all(format!("{memcached}\r\n").as_bytes()).unwrap();
    assert!(node.read(&mut [0; 64]).unwrap() > 0);
}

/// Has a Redis or a Memcached forget a name.
pub fn delete(server: &Server, name: &str) {
    order(server, &["DEL", name], &format!("delete {name}"));
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

// ---------------------------------------------------------------------------------------------------------------- cluster

/// A cluster of three masters, each with a replica if asked for.
pub struct Cluster {
    pub nodes: Vec<Server>,
    pub url: String,
}

impl Cluster {
    pub fn start() -> Cluster {
        let nodes: Vec<Server> = (0..6).map(|_| Server::start_with(Kind::Redis, &Cluster::arguments(&[]))).collect();
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        Cluster::join(nodes, "redis", &ports, &["--cluster-replicas", "1"])
    }

    /// Three masters, each of which redirects clients to the firewall before it.
    pub fn start_behind_firewalls() -> (Cluster, Vec<Firewall>) {
        let start = |_| {
            let firewall = Firewall::before(0);
            let port = firewall.address.port().to_string();
            let node = Server::start_with(Kind::Redis, &Cluster::arguments(&["--cluster-announce-port", &port]));
            firewall.leads_to(node.port);
            (node, firewall)
        };
        let (nodes, firewalls): (Vec<Server>, Vec<Firewall>) = (0..3).map(start).unzip();
        let ports: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        let mut cluster = Cluster::join(nodes, "redis", &ports, &[]);
        let addresses: Vec<String> = firewalls.iter().map(|firewall| firewall.address.to_string()).collect();
        cluster.url = format!("redis+cluster://{}", addresses.join(","));
        (cluster, firewalls)
    }

    /// Three masters that speak TLS, also to each other.
    pub fn start_tls(authority: &Authority) -> Cluster {
        Cluster::start_tls_with(authority, "no")
    }

    /// The same, but each client must show a certificate.
    pub fn start_tls_for_clients_with_certificates(authority: &Authority) -> Cluster {
        Cluster::start_tls_with(authority, "yes")
    }

    fn start_tls_with(authority: &Authority, clients: &str) -> Cluster {
        let start = |_| {
            let (tls, port) = authority.arguments();
            let more = ["--tls-auth-clients", clients, "--tls-cluster", "yes"];
            let tls: Vec<&str> = tls.iter().map(String::as_str).chain(more).collect();
            (Server::start_with(Kind::Redis, &Cluster::arguments(&tls)), port)
        };
        let (nodes, ports): (Vec<Server>, Vec<u16>) = (0..3).map(start).unzip();
        let file = |name: &str| authority.file(name).display().to_string();
        let ca = file("ca.pem");
        let cert = file("server.pem");
        let key = file("server.key");
        let more = ["--tls", "--cacert", &ca, "--cert", &cert, "--key", &key];
        Cluster::join(nodes, "rediss", &ports, &more)
    }

    fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let usual = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"];
        [&usual, more].concat()
    }

    fn join(nodes: Vec<Server>, scheme: &str, ports: &[u16], more: &[&str]) -> Cluster {
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        run(Command::new("redis-cli").args(["--cluster", "create"]).args(&addresses).args(more).arg("--cluster-yes"));
        let cluster = Cluster { nodes, url: format!("{scheme}+cluster://{}", addresses.join(",")) };
        // A replica that has never synchronised cannot become a master.
        let follows = |node: &Server| !cli(node, &["info", "replication"]).contains("master_link_status:down");
        until("the cluster is one", || cluster.nodes.iter().all(|node| Cluster::is_ready(node) && follows(node)));
        cluster
    }

    pub fn is_ready(node: &Server) -> bool {
        cli(node, &["cluster", "info"]).contains("cluster_state:ok")
    }

    /// Kills the first master, and waits until its replica has taken over.
    pub fn kill_first(&self) {
        self.nodes[0].order("kill", "killed");
        let leads = |node: &&Server| cli(node, &["role"]).starts_with("master");
        let rest = &self.nodes[1..];
        until("a replica leads", || rest.iter().filter(leads).count() == 3 && rest.iter().all(Cluster::is_ready));
    }

    /// Moves this many slots from the second master to the third.
    pub fn reshard(&self, slots: u32) {
        let id = |node: &Server| cli(node, &["cluster", "myid"]).trim().to_owned();
        let address = format!("127.0.0.1:{}", self.nodes[1].port);
        let from = id(&self.nodes[1]);
        let to = id(&self.nodes[2]);
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &address, "--cluster-from", &from, "--cluster-to", &to]);
        run(command.args(["--cluster-slots", &slots.to_string(), "--cluster-yes"]));
    }
}

// --------------------------------------------------------------------------------------------------------------- Sentinel

/// A master, its replica, and three Sentinels that watch them.
pub struct Sentinels {
    pub master: Server,
    pub replica: Server,
    _sentinels: Vec<Server>,
    pub url: String,
}

impl Sentinels {
    pub fn start() -> Sentinels {
        let master = Server::start(Kind::Redis);
        let replica = Server::start_with(Kind::Redis, &["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let sentinels: Vec<Server> =
            (0..3).map(|_| Server::start_with(Kind::Sentinel, &[&master.port.to_string()])).collect();
        let agreed = |sentinel: &Server| {
            let told = cli(sentinel, &["sentinel", "master", "chunks"]);
            let value =
                |name: &str| told.lines().skip_while(|line| *line != name).nth(1).unwrap_or_default().to_owned();
            (value("num-slaves"), value("num-other-sentinels")) == ("1".into(), "2".into())
        };
        until("the sentinels know each other", || sentinels.iter().all(agreed));
        let hosts: Vec<String> = sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        let url = format!("redis+sentinel://{}/chunks", hosts.join(","));
        Sentinels { master, replica, _sentinels: sentinels, url }
    }

    /// Kills the master, and waits until the replica has taken over.
    pub fn kill_master(&self) {
        self.master.order("kill", "killed");
        until("the replica leads", || cli(&self.replica, &["role"]).starts_with("master"));
    }
}

// -------------------------------------------------------------------------------------------------------------------- TLS

/// A certificate authority for this test, and its certificate for `localhost` and 127.0.0.1.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Authority {
        let folder = TempDir::new().unwrap();
        let openssl = |arguments: &str| {
            run(Command::new("openssl").args(arguments.split(' ')).current_dir(folder.path()));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        openssl(&format!("req -x509 {key} -days 2 -subj /CN={name} -keyout ca.key -out ca.pem"));
        openssl(&format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
        std::fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        );
        Authority { folder }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// The arguments that make a Redis speak TLS, and its port.
    pub fn arguments(&self) -> (Vec<String>, u16) {
        let port = free_port();
        let file = |name| self.file(name).to_str().unwrap().to_owned();
        let text = |text: &str| text.to_owned();
        let arguments = vec![
            (text("--tls-port"), port.to_string()),
            (text("--tls-cert-file"), file("server.pem")),
            (text("--tls-key-file"), file("server.key")),
            (text("--tls-ca-cert-file"), file("ca.pem")),
            (text("--tls-auth-clients"), text("no")),
        ];
        (arguments.into_iter().flat_map(|(name, value)| [name, value]).collect(), port)
    }
}
