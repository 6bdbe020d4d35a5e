"""A program of ours at a site that is reached by SSH: it gets questions and gives answers, as JSON."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import posixpath
import shlex
import threading
import uuid
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hooks.errors import BackendRefused, BackendUnavailable, RefusedForGood
from hooks.site_programs import file_name, packed

if TYPE_CHECKING:
    import paramiko
    from airflow.providers.ssh.hooks.ssh import SSHHook
    from airflow.sdk import Connection

CONNECT_TIMEOUT_S = 15
ANSWER_TIMEOUT_S = 300.0
NO_PROGRAM = 2  # what Python ends with when the file that it is to run is not there
BLOCK = 1 << 15
KINDS = {
    "unavailable": BackendUnavailable,
    "refused": BackendRefused,
    "refused_for_good": RefusedForGood,
}


@dataclass(frozen=True)
class SshSettings:
    """How a site is reached, and by whom.

    `host_key` as in known_hosts without the host, `key_file` of the private key (0600); `work_area` is a
    folder at the site, from the home directory or absolute, that login and worker nodes share.
    """

    host: str
    port: int
    login: str
    host_key: str
    key_file: Path
    work_area: str
    python: str = "python3"

    @property
    def address(self) -> str:
        return f"{self.login}@{self.host}:{self.port}"

    @classmethod
    def of(cls, connection: Connection, user: str) -> SshSettings:
        """Read an Airflow connection of type ssh.

        Without a login every user logs in by the name that they have here. Extra: `host_key`; `keys_dir`
        with one private key a user, or `key_file` of a key that serves all; `work_area`; `python`.
        RefusedForGood names what is missing.
        """
        extra, host = connection.extra_dejson, str(connection.host)
        if not extra.get("host_key"):
            raise RefusedForGood("SSH", host, f"connection {connection.conn_id} has no extra host_key")
        if "keys_dir" in extra:
            key_file = Path(extra["keys_dir"]) / user
        elif "key_file" in extra:
            key_file = Path(extra["key_file"])
        else:
            raise RefusedForGood(
                "SSH", host, f"connection {connection.conn_id}: neither keys_dir nor key_file"
            )
        if not key_file.is_file():
            raise RefusedForGood("SSH", host, f"no SSH key of user {user!r} here")
        return cls(
            host,
            int(connection.port or 22),
            connection.login or user,
            extra["host_key"],
            key_file,
            extra.get("work_area", "esap-batch"),
            extra.get("python", "python3"),
        )


class SshProgram:
    """A package of `folder` at a site, with others `beside` it, over one SSH connection that is kept.

    They are installed when they are not there yet, in a folder named by their content: what runs there goes
    on with the files that it began with. Every question may be asked again.
    """

    def __init__(self, settings: SshSettings, folder: Path, package: str, *beside: str) -> None:
        self.settings = settings
        self._folder, self._package, self._beside = folder, package, beside
        self._turn = threading.Lock()  # one question at a time on the connection
        self.connections = 0

    def ask(self, question: Mapping[str, Any], within: float = ANSWER_TIMEOUT_S) -> Any:
        """Ask one question; BackendUnavailable, BackendRefused or RefusedForGood when there is no answer.

        `within` so many seconds the site has to say something.
        """
        import paramiko

        text = json.dumps(question).encode()
        try:
            with self._turn:
                code, said, errors = self._run(text, within)
                if code == NO_PROGRAM and not said:
                    self._install()
                    code, said, errors = self._run(text, within)
        except paramiko.BadHostKeyException as error:
            message = "its host key is not the one in its connection: it may be another host that pretends"
            raise self._no(RefusedForGood, message) from error
        except paramiko.AuthenticationException as error:
            raise self._no(RefusedForGood, f"it does not take this user's key: {error}") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            kind = RefusedForGood if "not found in known_hosts" in str(error) else BackendUnavailable
            raise self._no(kind, str(error) or type(error).__name__) from error
        return self._answer(code, said, errors)

    def _answer(self, code: int, said: bytes, errors: bytes) -> Any:
        try:
            document = json.loads(said)
        except ValueError:
            words = errors.decode(errors="replace").strip()[-500:] or f"nothing, and ended with {code}"
            raise self._no(BackendUnavailable, f"{self._package} said: {words}") from None
        if "error" in document:
            raise self._no(KINDS[document["error"]["kind"]], document["error"]["message"])
        return document["answer"]

    def _no(self, kind: type[Exception], cause: object) -> Exception:
        return kind(self._package, self.settings.address, cause)

    @cached_property
    def _hook(self) -> SSHHook:
        import paramiko
        from airflow.providers.ssh.hooks.ssh import SSHHook

        for chatty in (
            "paramiko",
            "paramiko.transport",
        ):  # two lines for each connection, in every task's log
            logging.getLogger(chatty).setLevel(logging.WARNING)
        at = self.settings
        hook = SSHHook(
            remote_host=at.host,
            port=at.port,
            username=at.login,
            key_file=str(at.key_file),
            conn_timeout=CONNECT_TIMEOUT_S,
            conn_retry_attempts=1,  # Airflow tries the task again, the poller at its next turn
        )
        hook.look_for_keys = False
        kind, key = at.host_key.split()[:2]
        hook.host_key = paramiko.PKey.from_type_string(kind, b64decode(key))
        return hook

    def _connected(self) -> paramiko.Transport:
        before = self._hook.client
        transport = self._hook.get_conn().get_transport()
        assert transport is not None  # of a client that has just connected
        self.connections += self._hook.client is not before
        return transport

    def _run(self, text: bytes, within: float) -> tuple[int, bytes, bytes]:
        """Run the program with a text; give exit code, output and errors."""
        command = shlex.join([self.settings.python, self._place(file_name(self._package)), "call"])
        channel = self._connected().open_session(timeout=CONNECT_TIMEOUT_S)
        with channel:
            channel.settimeout(within)
            channel.exec_command(command)
            with suppress(OSError):  # it has ended without reading: what it says then counts
                channel.sendall(text)
            channel.shutdown_write()
            said = b"".join(iter(lambda: channel.recv(BLOCK), b""))
            errors = b"".join(iter(lambda: channel.recv_stderr(BLOCK), b""))
            code = channel.recv_exit_status()
        if code < 0:
            raise EOFError("the connection was cut while it worked")
        return code, said, errors

    @cached_property
    def _files(self) -> dict[str, bytes]:
        return {file_name(name): packed(self._folder, name) for name in (self._package, *self._beside)}

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, content in self._files.items():
            digest.update(name.encode() + b"\0" + content + b"\0")
        return digest.hexdigest()[:16]

    def _place(self, name: str) -> str:
        return posixpath.join(self.settings.work_area, "bin", self._digest, name)

    def _install(self) -> None:
        """Put the programs into their folder; each is there whole or not at all.

        The work area itself is made in a home directory only, which a login has shown to be there: on a node
        that has not mounted its disk an empty one would look as if there had never been any job.
        """
        area, folder = self.settings.work_area, posixpath.dirname(self._place("x"))
        with self._connected().open_sftp_client() as sftp:
            if posixpath.isabs(area):
                self._require(sftp, area)
            for path in (*reversed(PurePosixPath(folder).parents), folder):
                with suppress(OSError):  # it is there
                    sftp.mkdir(str(path))
            for name, content in self._files.items():
                part = f"{self._place(name)}.{uuid.uuid4().hex}.part"
                sftp.putfo(io.BytesIO(content), part)
                sftp.posix_rename(part, self._place(name))

    def _require(self, sftp: Any, area: str) -> None:
        try:
            sftp.stat(area)
        except FileNotFoundError:
            message = f"its work area {area} is not there: is the disk mounted? It is made by hand, once"
            raise self._no(BackendUnavailable, message) from None

    def close(self) -> None:
        """Hang up."""
        if client := self._hook.client:
            client.close()
