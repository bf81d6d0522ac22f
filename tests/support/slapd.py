"""A real OpenLDAP for tests, on free ports and with a few people: plain with StartTLS, and with TLS from the first byte."""

import datetime as dt
import ipaddress
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.process import die_with_parent, free_port

BASE = "dc=example,dc=org"
PEOPLE = f"ou=people,{BASE}"
GROUPS = f"ou=groups,{BASE}"
APP = f"cn=app,{BASE}"
APP_PASSWORD = "app-secret"
PASSWORD = "corréct horse"
_START_SECONDS = 20


def _person(uid: str, *lines: str, place: str = PEOPLE, password: str = PASSWORD) -> str:
    more = "".join(f"{line}\n" for line in lines)
    return (
        f"dn: uid={uid},{place}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\n"
        f"userPassword: {password}\n{more}\n"
    )


def _group(name: str, members: list[str], of: list[str] = []) -> str:  # noqa: B006 - read only
    lines = [f"dn: cn={name},{GROUPS}", "objectClass: groupOfNames", f"cn: {name.replace(chr(92), '')}"]
    lines += [f"member: {member}" for member in members] + [f"memberOf: cn={one},{GROUPS}" for one in of]
    return "\n".join(lines) + "\n\n"


def entries(elsewhere: int) -> str:
    """elsewhere: the port that a referral leads to."""
    ann, staff, everybody = f"uid=ann,{PEOPLE}", f"cn=staff,{GROUPS}", f"cn=everybody,{GROUPS}"
    units = "".join(
        f"dn: ou={name},{BASE}\nobjectClass: organizationalUnit\nou: {name}\n\n"
        for name in ("people", "other", "groups")
    )
    return (
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n{units}"
        f"dn: {APP}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: app\n"
        f"userPassword: {APP_PASSWORD}\n\n"
        + _person(
            "ann",
            "mail: Ann@Example.org",
            "displayName: Ann Lee",
            f"memberOf: {staff}",
            f"memberOf: cn=west\\, sales,{GROUPS}",
        )
        + _person("bob", "displayName: Bob")
        + _person("cid", "mail: cid@example.org", "mail: cid@example.com", "employeeType: guest")
        + _person("dup", "mail: dup@example.org")
        + _person("dup", "mail: dup2@example.org", place=f"ou=other,{BASE}")
        + _person("eve", "mail: ann@example.org")
        + _person("odd", "mail: nothing that is an address")
        # Groups that lie in each other, in a circle.
        + _group("staff", [ann, everybody], ["everybody"])
        + _group("everybody", [staff], ["staff"])
        + _group("west\\, sales", [ann])
        + _group("guests", [f"uid=cid,{PEOPLE}"])
        + f"dn: ou=far,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: far\n"
        f"ref: ldap://127.0.0.1:{elsewhere}/ou=far,{BASE}\n\n"
    )


class Slapd:
    """ca: the file of the authority that its certificate is of. bad_ca: of another one."""

    def __init__(self) -> None:
        self.port, self.tls_port, self.elsewhere = free_port(), free_port(), free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="oui-slapd-"))
        self.ca, self.bad_ca = self._folder / "cert.pem", self._folder / "other.pem"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises FileNotFoundError where there is no `slapd`, RuntimeError when it does not come up."""
        program = shutil.which("slapd", path="/usr/sbin:/usr/lib/openldap:/usr/bin")
        if program is None:
            raise FileNotFoundError("No OpenLDAP was found. Install the package `slapd`.")
        certificate(self.ca, self._folder / "key.pem")
        certificate(self.bad_ca, self._folder / "other-key.pem")
        (self._folder / "data").mkdir()
        config = self._folder / "slapd.conf"
        config.write_text(self._config(), encoding="utf-8")
        (self._folder / "entries.ldif").write_text(entries(self.elsewhere), encoding="utf-8")
        loaded = subprocess.run(
            [program, "-T", "add", "-q", "-f", config, "-l", self._folder / "entries.ldif"],
            capture_output=True,
            check=False,
        )
        assert loaded.returncode == 0, loaded.stderr.decode()
        addresses = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port}"
        self._process = subprocess.Popen(
            [program, "-f", config, "-h", addresses, "-d", "0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent,
        )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        self.stop()
        raise RuntimeError("OpenLDAP did not start.")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _config(self) -> str:
        modules = next(str(place) for place in (Path("/usr/lib/ldap"), Path("/usr/lib64/openldap")) if place.exists())
        schemas = "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        # It says yes to a name without a password, as many do: that is for us to know.
        return (
            f"{schemas}modulepath {modules}\nmoduleload back_mdb\nmoduleload memberof\nallow bind_anon_cred bind_anon_dn\n"
            f"pidfile {self._folder}/pid\nTLSCertificateFile {self.ca}\nTLSCertificateKeyFile {self._folder}/key.pem\n"
            f'database mdb\nsuffix "{BASE}"\ndirectory {self._folder}/data\nrootdn "cn=root,{BASE}"\noverlay memberof\n'
            "access to attrs=userPassword by anonymous auth by * none\n"
            f'access to * by dn.exact="{APP}" read by * none\n'
        )

    def page(self, **changed: Any) -> dict[str, Any]:
        """What an admin gives the settings page for it: StartTLS, unless something else is said."""
        return {
            "label": "Staff", "host": "127.0.0.1", "port": self.tls_port, "attribute_for_mail": "mail",
            "attribute_for_username": "uid", "app_dn": APP, "app_dn_password": APP_PASSWORD, "search_base": BASE,
            "search_filters": "(objectClass=inetOrgPerson)", "use_tls": True, "certificate_path": str(self.ca),
        } | changed  # fmt: skip


def certificate(chain: Path, key: Path) -> None:
    """A certificate of 127.0.0.1 that is its own authority."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    key.chmod(0o600)
