//! A real slapd in a directory of its own, with a certificate of an authority of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::BASE64_MIME;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use crate::bus::PATIENCE;

const SLAPD: &str = "/usr/sbin/slapd";
/// Of the one who may read.
pub const PASSWORD: &str = "a-word-for-the-server";

const PEOPLE: &str = "dn: dc=example,dc=org
objectClass: domain
dc: example

dn: cn=claviger,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: claviger
userPassword: a-word-for-the-server

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=arthur,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: arthur
cn: Arthur
sn: Dent
mail: arthur@example.org
mobile: +44 20 7946 0000
employeeType: clerk

dn: uid=trillian,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: trillian
cn: Trillian
sn: McMillan
mail: trillian@example.org
employeeType: clerk
employeeType: chief
departmentNumber: root

dn: uid=ford,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ford
cn: Ford
sn: Prefect
mail: ford@example.org
employeeType: clerk
businessCategory: Privileged
mobile: 1
mobile: 2

dn: uid=marvin,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: marvin
cn: Marvin
sn: Android
mail: marvin@example.org
employeeType: clerk

dn: uid=marvin-admin,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: marvin-admin
cn: Marvin
sn: Android
mail: marvin@example.org
employeeType: chief

dn: uid=two-accounts,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: two-accounts
cn: Two
sn: Accounts
employeeType: clerk
departmentNumber: one
departmentNumber: another

dn: uid=odd*(name),ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: odd*(name)
cn: Odd
sn: Name
employeeType: chief
";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, of: &[&str]) -> CertificateParams {
    let names: Vec<String> = of.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn issuer(name: &str) -> Issuer {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key()).expect("an authority")
}

fn pem(what: &str, der: &[u8]) -> String {
    let lines = BASE64_MIME.encode(der).replace('\r', "");
    format!("-----BEGIN {what}-----\n{lines}-----END {what}-----\n")
}

/// Ends when dropped.
pub struct Server {
    child: Option<Child>,
    dir: TempDir,
    ports: [u16; 2],
}

impl Server {
    /// Starts one, or says for this test why none can be.
    pub fn start(test: &str) -> Option<Self> {
        if !Path::new(SLAPD).exists() {
            println!("{test}: skipped, no slapd (Debian: slapd)");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        // Two that nobody has; somebody may be faster, and then slapd says so.
        let free = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (plain, tls) = (free(), free());
        let ports = [plain, tls].map(|listener| listener.local_addr().expect("an address").port());
        let mut server = Self {
            child: None,
            dir,
            ports,
        };
        server.furnish();
        server.restart();
        Some(server)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn ldapi(&self) -> String {
        let path = self.path("socket").display().to_string();
        format!("ldapi://{}", path.replace('/', "%2F"))
    }

    pub fn ldap(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.ports[0])
    }

    pub fn ldaps(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.ports[1])
    }

    fn furnish(&self) {
        let write = |name: &str, text: &str| {
            fs::write(self.path(name), text).expect("written");
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("its mode");
        };
        let (ours, stranger) = (issuer("Ours"), issuer("Stranger"));
        let leaf = key();
        let certificate = params("slapd", &["127.0.0.1"])
            .signed_by(&leaf, &ours)
            .expect("a certificate");
        write("ca.pem", &pem("CERTIFICATE", ours.der()));
        write("stranger.pem", &pem("CERTIFICATE", stranger.der()));
        write("server.pem", &pem("CERTIFICATE", certificate.der()));
        write("server.key", &pem("PRIVATE KEY", &leaf.serialize_der()));
        write("password", &format!("{PASSWORD}\n"));
        write("people.ldif", PEOPLE);
        fs::create_dir(self.path("db")).expect("a directory");
        let at = self.dir.path().display();
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\n\
             TLSCACertificateFile {at}/ca.pem\nTLSCertificateFile {at}/server.pem\nTLSCertificateKeyFile {at}/server.key\n\
             database mdb\nsuffix \"dc=example,dc=org\"\ndirectory {at}/db\nmaxsize 10485760\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"cn=claviger,dc=example,dc=org\" read by * none\n"
        );
        write("slapd.conf", &configuration);
        let filled = Command::new("/usr/sbin/slapadd")
            .arg("-f")
            .arg(self.path("slapd.conf"))
            .arg("-l")
            .arg(self.path("people.ldif"))
            .output()
            .expect("slapadd");
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    }

    /// Starts it (again), and waits until it takes connections on all three.
    pub fn restart(&mut self) {
        self.stop();
        let places = format!("{} {}/ {}/", self.ldapi(), self.ldap(), self.ldaps());
        let log = fs::File::create(self.path("log")).expect("a log");
        let child = Command::new(SLAPD)
            // In the foreground, and nothing but errors.
            .args(["-d", "0", "-h", &places, "-f"])
            .arg(self.path("slapd.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("slapd");
        self.child = Some(child);
        let begun = Instant::now();
        let listens = || {
            UnixStream::connect(self.path("socket")).is_ok()
                && self
                    .ports
                    .iter()
                    .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        };
        while !listens() {
            let told = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "slapd does not listen: {told}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
