"""Take each defence of docs/threats.md out, in a copy of the tree, and see the test that names it fail.

python -m tests.docs.defences            all of them, some minutes
python -m tests.docs.defences sealed     those whose attack or file holds this word
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240


@dataclass(frozen=True)
class Defence:
    """In `file` the text `there` is the defence, and `gone` what stands there without it; `test` then fails."""

    attack: str
    file: str
    there: str
    gone: str
    test: str


DEFENCES = [
    Defence("another tenant's object", "accounts/roles.py", "if tenant_id != principal.tenant_id:", "if False:",
            "accounts/test_roles.py::test_another_tenant_is_not_found_and_the_whole_service_is_the_operators"),
    Defence("guessed keys", "server/guesses.py",
            "if wait_ns <= 0:\n            return None", "if True:\n            return None",
            "server/test_guesses.py::test_who_tries_keys_is_told_to_wait_and_a_good_key_never_is"),
    Defence("guessed keys", "server/guesses.py", "if len(self._due) > self._most:", "if False:",
            "server/test_guesses.py::test_addresses_cannot_grow_it_and_those_seen_last_stay"),
    Defence("a stolen key", "serving/gate.py",
            "if principal.cert_sha256 not in (None, certificate.sha256):", "if False:",
            "server/test_mutual_tls.py::test_a_key_may_be_bound_to_one_certificate"),
    Defence("a stolen key", "serving/gate.py",
            "if principal.authorities and not any(map(certificate.is_issued_by, principal.authorities)):", "if False:",
            "server/test_mutual_tls.py::test_the_keys_of_a_tenant_with_an_authority_need_its_certificates"),
    Defence("a stolen key", "serving/gate.py", "if principal.addresses is not None:", "if False:",
            "serving/test_gate.py::test_a_key_opens_from_its_addresses_and_no_other"),
    Defence("a key wider than its maker's", "accounts/keys.py",
            "if (more := scope.beyond(creator.scope)) is not None:", "if (more := None) is not None:",
            "accounts/test_keys.py::test_a_key_is_never_wider_than_the_one_that_made_it"),
    Defence("fields of ours in a request", "server/apis/control/tenants.py",
            '"""A customer to be."""\n\n    model_config = ConfigDict(extra="forbid")', '"""A customer to be."""\n',
            "server/test_control.py::test_what_cannot_be_done_is_told_as_problem_details"),
    Defence("consumption without bound", "protocols/openai/parameters.py", "n: Annotated[int, Meta(ge=1, le=128)]",
            "n: Annotated[int, Meta(ge=1)]", "server/test_bad_input.py::test_it_is_refused_with_a_sentence -k 55"),
    Defence("calls that empty a wallet", "serving/admission.py",
            "if purse.limit_nano is not None and purse.available_nano < most.nano:", "if False:",
            "server/test_limits.py::test_a_budget_ends_with_402_in_every_protocol_and_no_nano_later"),
    Defence("addresses inside, through a webhook", "metering/outgoing.py",
            "    for address in addresses:\n        _refuse_inside(address, allow_private=allow_private)\n", "",
            "metering/test_outgoing.py::test_a_name_that_leads_inside_is_refused_when_it_is_called"),
    Defence("addresses inside, through a webhook", "metering/outgoing.py",
            "socket.create_connection((str(self._address), self.port), self.timeout)",
            "socket.create_connection((self.host, self.port), self.timeout)",
            "metering/test_outgoing.py::test_the_address_that_was_checked_is_the_one_that_is_called"),
    Defence("a hostile server behind a model", "engines/upstream.py", "if len(buffer) > _MAX_EVENT_BYTES:", "if False:",
            "engines/test_upstream.py::test_what_another_answer_means"),
    Defence("a hostile server behind a model", "engines/upstream.py", "follow_redirects=False", "follow_redirects=True",
            "engines/test_upstream.py::test_what_another_answer_means"),
    Defence("a hostile server behind a model", "engines/upstream.py",
            'body.replace(self._key.encode(), b"...") if self._key else body', "body",
            "engines/test_upstream.py::test_what_another_answer_means"),
    Defence("a hostile server behind a model", "serving/generation_ticket.py",
            "min(max(0, count), _MOST_TOKENS)", "count",
            "server/test_upstream.py::test_counts_that_no_answer_can_have_are_brought_into_range"),
    Defence("weights fetched by a tenant", "models/device_bundle.py",
            "if manifest.split is None and device_variant(manifest) is None:", "if False:",
            "models/test_device_bundle.py::test_weights_are_for_devices_only_where_the_operator_said_so"),
    Defence("a bundle for devices that was changed", "engines/bundle.py",
            "hashlib.sha256(part).hexdigest() != file.sha256", "False",
            "engines/test_bundle.py::test_every_bundle_that_was_cut_off_or_changed_is_refused_or_says_the_same"),
    Defence("another tenant's inputs by their digest", "serving/held_inputs.py",
            "return TenantInputs(self._memory, tenant)", 'return TenantInputs(self._memory, "")',
            "server/test_memories.py::test_nobody_reaches_what_another_tenant_sent"),
    Defence("another tenant's answers from a cache", "serving/response_cache.py",
            "return self._memory.get(tenant, asked, now_ns)",
            "return next((found for each in self._memory._shelves"
            " if (found := self._memory.get(each, asked, now_ns))), None)",
            "server/test_memories.py::test_no_tenant_sees_what_another_asked_nor_how_fast"),
    Defence("bytes kept under a digest that is not theirs", "serving/held_inputs.py",
            "if hashlib.sha256(raw).hexdigest() != digest:", "if False:",
            "server/test_memories.py::test_what_is_no_digest_or_that_of_other_bytes_is_refused_and_not_held"),
    Defence("a model copied by its answers", "serving/hardening.py",
            "if hardening.top_k is None and hardening.decimals is None:", "if True:",
            "serving/test_hardening.py::test_a_linear_model_cannot_be_solved_from_hardened_answers"),
    Defence("who was in the training data", "nn/privacy.py", "self.noise * self.clip,", "0 * self.clip,",
            "nn/test_privacy.py::test_whether_a_row_was_learnt_from_shows_without_privacy_and_hardly_with_it"),
    Defence("a swapped model", "models/signature.py", "or signed != _digests(sums, manifest)", "",
            "models/test_signature.py::test_a_change_of_any_file_is_seen_even_with_right_checksums"),
    Defence("pickles", "models/formats.py", "if is_pickle(head):", "if False:",
            "models/test_formats.py::test_what_can_run_code_is_refused_by_its_bytes_whatever_it_is_called"),
    Defence("weights that lie about themselves", "models/importers/encoder_folder.py",
            'if not name.startswith("pooler.")', "if False",
            "models/test_importers_torch.py::test_weights_that_lie_about_themselves_are_refused"),
    Defence("archives that leave their folder", "models/archive.py", "safe_name(entry.name)", "entry.name",
            "models/test_archive.py::test_an_archive_that_would_leave_its_folder_is_refused_and_leaves_nothing"),
    Defence("archives that are bombs", "models/archive.py", "or entry.size > left", "",
            "models/test_archive.py::test_a_bomb_is_stopped_at_the_bound"),
    Defence("requests that can be read in two ways", "server/http1_exchange.py",
            'if name == b"host" and name in self.headers:', "if False:",
            "server/test_http1.py::test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_served"),
    Defence("a key of idempotency twice", "server/http1_exchange.py",
            "if name in ONCE and name in self.headers:", "if False:",
            "server/test_limits.py::test_what_is_no_idempotency_key_or_two_of_them_is_refused"),
    Defence("a key of idempotency twice", "server/http.py", "if len(headers) != len(fields):", "if False:",
            "server/test_limits.py::test_what_is_no_idempotency_key_or_two_of_them_is_refused"),
    Defence("another body under a key of idempotency", "storage/idempotent_answers.py",
            "if row.fingerprint != wanted.fingerprint:", "if False:",
            "server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once"),
    Defence("another tenant's key of idempotency", "server/idempotency.py",
            'scope = f"{principal.tenant_id or \'\'}/{principal.key_id}"', 'scope = ""',
            "server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once"),
    Defence("slow heads", "server/http1.py",
            "self._refuse(RequestTimeoutError(\"the request's headers did not come in time\"))", "pass",
            "server/test_http1.py::test_who_is_silent_for_too_long_is_dropped"),
    Defence("connections of one address", "server/http1.py", "if not self._server.addresses.enter(self._client):",
            "if False:", "server/test_http1.py::test_an_address_holds_so_many_connections_and_the_machines_own_any"),
    Defence("the front's administration", "server/front.py",
            'config["admin"]["allow_paths"] = [{"prefix": "/listeners"}]', "pass",
            "server/test_hostile.py::test_nobody_on_the_machine_can_stop_the_front_or_read_its_memory"),
    Defence("gzip bombs", "codecs/compression.py", "MAX_RATIO = 100", "MAX_RATIO = 1 << 30",
            "codecs/test_compression.py::test_a_bomb_is_known_by_its_beginning_and_takes_little"),
    Defence("coded tensors that are bombs", "protocols/open_inference/coded.py", "MOST_GROWTH * sent", "size",
            "protocols/test_coded.py::test_frames_that_grow_too_much_are_refused_before_they_are_opened"),
    Defence("a frame of another shape", "protocols/open_inference/coded.py",
            "if (head.codec, head.datatype, head.shape) !=", "if False and () !=",
            "protocols/test_coded.py::test_a_frame_that_is_not_what_was_declared_is_refused"),
    Defence("weights taken from the service", "server/apis/places.py",
            'self._calls.admit(request, "infer", route.model)', "pass",
            "server/test_places.py::test_weights_are_for_who_may_call_the_model_not_for_who_may_only_read"),
    Defence("a sealed call sent again", "engines/sealed_replay.py", "if digest in self._seen:", "if False:",
            "engines/test_sealed_replay.py::test_no_call_is_ever_taken_twice_within_its_time"),
    Defence("a sealed call of another time", "engines/sealed_opening.py",
            "if abs(now_ns - inner.sent_ns) > SKEW_NS:", "if False:",
            "engines/test_sealed_batch.py::test_a_call_from_another_time_is_refused"),
    Defence("a malformed seal", "codecs/sealed_suite.py",
            "        except Exception:\n            # Which of truncated",
            "        except ZeroDivisionError:\n            # Which of truncated",
            "engines/test_sealed_batch.py::test_no_mutant_of_a_call_is_taken"),
    Defence("another key for a sealed call", "codecs/sealed_key.py",
            "key.verify(base64.b64decode(signed.signature), _SIGNED + signed.config.encode())", "pass",
            "server/test_sealed.py::test_keys_of_another_identity_are_not_believed"),
    Defence("tampering with the log", "storage/audit_log.py",
            "if row.previous_hash != hash or row.hash != chained_hash(hash, fields):", "if False:",
            "storage/test_audit_log.py::test_a_row_that_was_changed_removed_inserted_moved_or_cut_off_is_detected"),
    Defence("a clock that jumps", "metering/billing_clock.py", "if 0 < behind_ns <= HOLD_NS:", "if False:",
            "metering/test_billing_clock.py::test_stamps_never_fall_as_long_as_no_step_back_is_beyond_the_bound"),
    Defence("certificates of another authority, or time", "server/tls_secrets.py",
            '{"trusted_ca": {"inline_string": "\\n".join(trusted) or self._nobody}}',
            '{"trusted_ca": {"inline_string": "\\n".join(trusted) or self._nobody},\n'
            '                   "trust_chain_verification": "ACCEPT_UNTRUSTED"}',
            "server/test_mutual_tls.py::test_a_certificate_of_another_time_does_not_come_past_the_handshake"),
    Defence("plaintext from another machine", "server/front.py",
            ', "direct_source_prefix_ranges": _own_addresses(self._host)}', "}",
            "server/test_mutual_tls.py::test_plaintext_is_for_this_machine_alone"),
    Defence("a client that says which certificate it has", "server/front.py",
            'http2["forward_client_cert_details"] = "SANITIZE_SET"',
            'http2["forward_client_cert_details"] = "ALWAYS_FORWARD_ONLY"',
            "server/test_mutual_tls.py::test_who_says_what_certificate_it_has_is_not_believed"),
    Defence("a model stolen from the disk", "models/encryption.py", "except (InvalidTag, ValueError):",
            "except ZeroDivisionError:", "models/test_store.py::test_no_bit_can_be_flipped"),
    Defence("a disputed bill", "metering/audit/check.py", "if expected != found:", "if False:",
            "metering/test_audit.py::test_each_change_of_a_row_is_found_by_the_check_that_is_for_it"),
    Defence("decoders under any bytes", "codecs/compression.py", "except zlib.error as error:",
            "except ZeroDivisionError as error:",
            "fuzz/test_fuzz.py::test_no_bytes_make_a_decoder_do_worse_than_refuse"),
    Defence("another tenant's inputs on the disk", "accounts/directory_loading.py",
            "payload_logging=logging if logging.enabled else None", "payload_logging=type(logging)(True)",
            "server/test_isolation.py::test_what_one_sends_is_nowhere_on_the_disk"),
    Defence("a model that hangs", "engines/python.py", "timeout_ms=options.timeout_ms", "timeout_ms=100_000",
            "engines/test_python.py::test_a_call_that_hangs_is_ended_at_its_timeout_with_all_that_it_started"),
    Defence("old TLS", "server/tls_secrets.py", '"TLSv1_3"', '"TLSv1_2"',
            "server/test_mutual_tls.py::test_older_tls_is_refused"),
    Defence("a planted dependency", "../../constraints.txt", "absl-py==", "absl-py>=",
            "test_supply_chain.py::test_everything_is_pinned_with_its_hash_and_comes_from_no_url"),
]  # fmt: skip


def take_out(defence: Defence, tree: Path) -> bool:
    """Whether the test of `defence` fails in `tree`, a copy, while the defence is out; it is back afterwards."""
    file = tree / "src" / "airserve" / defence.file
    whole = file.read_text()
    file.write_text(whole.replace(defence.there, defence.gone, 1))
    name, *options = defence.test.split()
    # The copy's own package comes before the one that is installed, in every process that the test starts.
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{name}", *options],
            cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return True
    finally:
        file.write_text(whole)
    # 1: tests failed. Anything else (none found, bad options) shows nothing.
    return done.returncode == 1


def main(words: list[str]) -> int:
    """Take out what was asked for, one after the other; the number of defences that no test misses."""
    chosen = [each for each in DEFENCES if all(word in each.attack + each.file for word in words)]
    unseen = 0
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        ignored = shutil.ignore_patterns(".venv", ".git", ".cache", "build", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, tree, ignore=ignored)
        for defence in chosen:
            failed = take_out(defence, tree)
            unseen += not failed
            print(f"{'seen' if failed else 'NOT SEEN':9} {defence.attack:45} {defence.test}", flush=True)
    return unseen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
