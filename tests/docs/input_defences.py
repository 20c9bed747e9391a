"""The defences against the bad inputs of `tests/server/bad_inputs.py` and of its neighbours, row by row."""

from __future__ import annotations

from tests.docs.defence import Defence, Edit

_SENTENCE = "server/test_bad_input.py::test_it_is_refused_with_a_sentence"
_BYTES = "server/test_bad_input.py::test_bytes_that_no_library_would_send"
_MESSAGE = "server/test_bad_input.py::test_messages_are_refused_with_a_sentence"

NOT_OURS = {
    48: "nothing is refused: NaN is handed to the model",
    49: "nothing is refused: every bit is kept",
}
"""Rows that no text of ours defends, and why."""


def row(number: int, file: str, there: str, gone: str, test: str, *also: Edit) -> Defence:
    """A defence against the row `number` of the bad inputs. `test` beginning with -k is of the table's requests."""
    return Defence(f"bad input {number}:", file, there, gone, test, also)


def request(number: int, at: str, file: str, there: str, gone: str, *also: Edit) -> Defence:
    """The same, seen by the row's requests whose path begins with `at`."""
    return row(number, file, there, gone, f"{_SENTENCE} -k 1.1-{number}-{at}", *also)


def sent(number: int, file: str, there: str, gone: str, *also: Edit, what: str = "") -> Defence:
    """The same, seen by the bytes of the row."""
    return row(number, file, there, gone, f"{_BYTES} -k [{number}-{what}", *also)


_NO_JSON = "    except (msgspec.DecodeError, UnicodeDecodeError) as error:\n        quoted"
_UNCAUGHT = "except ZeroDivisionError as error:"
_DECODED = "except (msgspec.DecodeError, UnicodeDecodeError) as error:"
_DATA: Edit = ("protocols/open_inference/json_data.py", _DECODED, _UNCAUGHT)
_VALUES: Edit = ("protocols/open_inference/json_data.py", "except (ArithmeticError, ValueError):",
                 "except ZeroDivisionError:")  # fmt: skip
_STRICT: Edit = ("server/http1.py", "            except httptools.HttpParserError as error:",
                 "            except ZeroDivisionError as error:")  # fmt: skip
_ANY_MODEL: Edit = ("serving/service.py", "        if found is None:\n            raise",
                    "        found = found or next(iter(self._versions.values()))\n        if found is None:\n"
                    "            raise")  # fmt: skip

INPUTS = [
    *[request(number, "v2", "protocols/open_inference/document.py", _NO_JSON, f"    {_UNCAUGHT}\n        quoted")
      for number in (1, 2, 3, 4)],
    *[request(number, "models", "protocols/plain/rows.py", _DECODED, _UNCAUGHT) for number in (5, 6, 7)],
    *[request(number, "v2", *_DATA, _VALUES) for number in (8, 9, 10)],
    request(11, "v2", "protocols/open_inference/document.py",
            "    except RecursionError:\n        raise InvalidInputError(\"the request",
            "    except ZeroDivisionError:\n        raise InvalidInputError(\"the request"),
    request(12, "v2", "protocols/open_inference/document.py", "    _refuse_repeated(text, document)\n", ""),
    request(13, "v1", "protocols/openai/embeddings.py", "forbid_unknown_fields=True, kw_only", "kw_only"),
    request(14, "models", "protocols/plain/rows.py", "    if missing or strange:", "    if False:"),
    request(15, "v2", "server/http1_exchange.py", "if max(self.length or 0, self.filled) > limit:", "if False:"),
    sent(16, "server/http1_exchange.py", "and end > self.limit:", "and False:"),
    row(17, "server/http1_exchange.py", "if self.chunks > MAX_PIECES + 1:", "if False:",
        "server/test_http1.py::test_a_body_comes_in_65536_chunks_at_most"),
    sent(18, *_STRICT),
    sent(19, *_STRICT),
    row(20, "server/http1.py", "self.deadline = exchange.began + pace(exchange.filled)\n        if exchange.filled",
        "self.deadline = _FOREVER\n        if exchange.filled",
        "server/test_http1.py::test_a_body_that_dribbles_is_dropped_and_one_that_only_is_slow_is_not"),
    row(21, "server/http1.py",
        "self._refuse(RequestTimeoutError(\"the request's headers did not come in time\"))", "pass",
        "server/test_http1.py::test_who_is_silent_for_too_long_is_dropped"),
    sent(22, "server/http1_exchange.py", "if len(self.headers) >= MAX_FIELDS:", "if False:", what="101"),
    sent(22, "server/http1.py", "if self._head_bytes > MAX_HEAD_BYTES:", "if False:", what="a"),
    sent(23, "protocols/target.py", "if len(target) > MAX_TARGET:", "if False:"),
    sent(24, *_STRICT),
    request(25, "v2", "protocols/open_inference/routes.py", "    if method != expected:", "    if False:"),
    request(26, "models", "protocols/plain/media.py", "    if form is None:", "    if False:"),
    request(27, "v2", "codecs/compression.py", "if coding not in _WINDOW_OF:", "if False:"),
    request(28, "v2", "codecs/compression.py", "if size > limit:", "if False:",
            ("codecs/compression.py", "if size > most:", "if False:"),
            ("codecs/compression.py", "most + 1 - size", "0")),
    request(29, "v2", "codecs/compression.py", "if coding not in _WINDOW_OF:", "if False:"),
    row(30, "codecs/compression.py", "if coding not in _WINDOW_OF:", "if False:", f"{_SENTENCE} -k 1.1-29-models"),
    request(31, "v2", "codecs/compression.py", "if not decompressor.eof:", "if False:"),
    request(32, "v2", "codecs/compression.py", "except zlib.error as error:", _UNCAUGHT),
    request(33, "v2", *_ANY_MODEL),
    request(33, "v1", "protocols/openai/parameters.py", "Name = Annotated[str, Meta(min_length=1, max_length=256)]",
            "Name = Annotated[str, Meta(min_length=1)]"),
    request(34, "v2", *_ANY_MODEL),
    row(35, "serving/gate.py", 'if principal.models is not None and model.partition("@")[0] not in principal.models:',
        "if False:", "serving/test_gate.py::test_a_key_opens_its_models_and_no_other"),
    row(36, "serving/version.py", "        if not loading.done():", "        if False:",
        "serving/test_service.py::test_a_load_stalls_nobody_else_and_goes_on_when_its_caller_cannot_wait"),
    request(37, "v2", "protocols/open_inference/request.py",
            "    check_all_given(model, list(specs), list(inputs))\n", ""),
    request(38, "v2", "protocols/open_inference/checks.py",
            '    if name in given:\n        raise InvalidInputError(f"inference output',
            '    if False:\n        raise InvalidInputError(f"inference output'),
    request(39, "v2", "protocols/open_inference/checks.py", "    if datatype != spec.datatype:", "    if False:"),
    row(40, "codecs/tensors.py", "        if size - offset < length:", "        if False:",
        "codecs/test_tensors.py::test_lengths_that_lie_are_refused"),
    request(41, "v2", "core/tensor.py", "    if min(shape, default=0) < 0:", "    if False:"),
    request(42, "v2", "core/tensor.py", "    if extent > MAX_ELEMENTS:", "    if False:"),
    request(43, "v2", "protocols/open_inference/checks.py", "    if not 1 <= count <= signature.max_batch:",
            "    if False:"),
    request(44, "v2", "protocols/open_inference/checks.py", "    if len(shape) == len(spec.shape):", "    if True:",
            ("core/tensor.py", "    if len(shape) > MAX_RANK:", "    if False:")),
    request(45, "v2", "protocols/open_inference/json_data.py", "        if len(values) != math.prod(shape):",
            "        if False:"),
    request(46, "v2", "protocols/open_inference/json_data.py", "    _check_nesting(values, shape, name)\n", "",
            _VALUES),
    request(47, "v2", *_DATA),
    row(50, "protocols/open_inference_grpc/contents.py", "    except OverflowError:", "    except ZeroDivisionError:",
        "protocols/test_open_inference_grpc.py::test_values_that_do_not_fit_a_small_integer_are_refused"),
    request(51, "v2", "protocols/open_inference/request.py", "        if not 0 <= length <= len(body):",
            "        if False:"),
    request(52, "v2", "protocols/open_inference/request.py", "        if size > tail_size - offset:",
            "        if False:"),
    row(53, "codecs/tensors.py", "    if len(elements) != count:", "    if False:",
        "protocols/test_open_inference_grpc.py::test_strings_that_are_cut_off_or_too_many"),
    request(54, "v2", "protocols/open_inference/request.py",
            "    if SHARED_MEMORY in parameters:\n        raise NotImplementedHereError(NO_SHARED_MEMORY)\n", ""),
    request(55, "v1", "protocols/openai/parameters.py", "n: Annotated[int, Meta(ge=1, le=128)]",
            "n: Annotated[int, Meta(ge=1)]"),
    request(56, "v2", "protocols/headers.py",
            "if not _MILLISECONDS.fullmatch(header) or not 0 < float(header) <= MAX_TIMEOUT_MS:", "if False:"),
    request(57, "v2", "protocols/open_inference/checks.py", "    if len(id_) > _MAX_ID or not id_.isprintable():",
            "    if False:"),
    request(58, "v2", "accounts/directory.py", "        if entry is None:",
            "        entry = entry or next(iter(self._entries.values()))\n        if entry is None:"),
    request(59, "v2", "protocols/target.py", '("as_live_", "as_usr_", "as_adm_")', "()"),
    row(60, "serving/gate.py", "if principal.routes is not None and route not in principal.routes:", "if False:",
        "serving/test_gate.py::test_a_key_opens_its_routes_and_no_other"),
    row(61, "accounts/directory.py", "        if self.revoked:", "        if False:",
        "server/test_keys.py::test_a_key_works_within_a_second_of_its_making_and_stops_within_one_of_its_end"),
    row(61, "accounts/directory.py", '        if self.tenant_status != "active":', "        if False:",
        "server/test_keys.py::test_a_key_works_within_a_second_of_its_making_and_stops_within_one_of_its_end"),
    row(62, "serving/bucket.py", "return level + self.one_ns <= self.tolerance_ns", "return True",
        "server/test_limits.py::"
        "test_limits_are_told_with_every_answer_and_refuse_with_the_exact_time_to_come_back"),
    row(63, "serving/queue.py", "        return self._size >= self.capacity", "        return False",
        "server/test_bad_input.py::test_a_full_queue_is_503_with_the_time_to_come_back"),
    row(64, "storage/idempotent_answers.py", "if row.fingerprint != wanted.fingerprint:", "if False:",
        "server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once"),
    row(65, "storage/idempotent_answers.py", 'if row.state == "open" and _runs(', "if False and _runs(",
        "server/test_limits.py::test_a_hundred_attempts_at_once_are_one_call"),
    row(66, "storage/idempotent_answers.py", 'if row.state == "done":', "if False:",
        "server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once"),
    row(67, "server/idempotency.py", "scope = f\"{principal.tenant_id or ''}/{principal.key_id}\"", 'scope = ""',
        "server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once"),
    row(68, "protocols/headers.py", "    if not _IDEMPOTENCY_KEY.fullmatch(key):", "    if False:",
        "server/test_limits.py::test_what_is_no_idempotency_key_or_two_of_them_is_refused"),
    row(69, "server/http1.py", "        if self._task is not None:\n            self._task.cancel()\n", "",
        "server/test_disconnect.py::test_calls_whose_clients_have_gone_free_their_work_and_cost_nothing"),
    *[row(number, "engines/sealed_opening.py", there, "        if False:",
          "server/test_sealed.py::test_what_is_refused_costs_nothing_and_what_is_answered_costs_by_its_rows")
      for number, there in (
          (70, "        if key is None or (header.kem, header.kdf, header.aead) != self._ring.suite.ids:"),
          (71, "        if abs(now_ns - inner.sent_ns) > SKEW_NS:"))],
    row(72, "engines/sealed_replay.py", "if digest in self._seen:", "if False:",
        "engines/test_sealed_replay.py::test_no_call_is_ever_taken_twice_within_its_time"),
    row(73, "codecs/sealed_suite.py", "        except Exception:\n            # Which of truncated",
        "        except ZeroDivisionError:\n            # Which of truncated",
        "engines/test_sealed_batch.py::test_a_point_of_low_order_opens_nothing"),
    row(74, "models/formats.py", "if is_pickle(head):", "if False:",
        "models/test_formats.py::test_what_can_run_code_is_refused_by_its_bytes_whatever_it_is_called"),
    row(75, "models/archive.py", "if not entry.isfile() or entry.issparse():", "if False:",
        "models/test_archive.py::test_an_archive_that_would_leave_its_folder_is_refused_and_leaves_nothing"),
    row(76, "models/importers/encoder_folder.py",
        "except Exception as error:  # the library raises what the files make it raise", _UNCAUGHT,
        "models/test_importers_torch.py::test_weights_that_lie_about_themselves_are_refused"),
    row(77, "protocols/plain/npy.py", "    if dtype.kind not in _KINDS or not dtype.itemsize:", "    if False:",
        "protocols/test_plain.py::test_a_file_that_claims_or_hides_something_is_refused"),
    row(78, "models/onnx_budget.py", "    if strangers:", "    if False:",
        "models/test_onnx_admission.py::test_a_bomb_is_found_before_anything_of_it_is_made -k domain"),
    row(79, "models/onnx_budget.py", "if elements * bits // 8 > limits.tensor_bytes:", "if False:",
        "models/test_onnx_admission.py::test_a_bomb_is_found_before_anything_of_it_is_made -k constant-of-shape"),
    row(80, "models/formats.py", "            if not head.startswith(_ZIP):", "            if False:",
        "models/test_formats.py::"
        "test_what_can_run_code_is_refused_by_its_bytes_whatever_it_is_called -k polyglot"),
    row(81, "models/signature.py", "    if signer is None:", "    if False:",
        "models/test_signature.py::test_without_a_trusted_signature_a_package_is_refused"),
    row(82, "server/tls_secrets.py", '{"trusted_ca": {"inline_string": "\\n".join(trusted) or self._nobody}}',
        '{"trusted_ca": {"inline_string": "\\n".join(trusted) or self._nobody},\n'
        '                   "trust_chain_verification": "ACCEPT_UNTRUSTED"}',
        "server/test_mutual_tls.py::test_a_certificate_of_another_time_does_not_come_past_the_handshake"),
    row(83, "server/front_limits.py", "_STREAMS_RESET = 500", "_STREAMS_RESET = 1 << 30",
        "server/test_hostile.py::test_a_flood_of_frames_ends_its_own_connection -k rapid_reset"),
    row(84, "server/apis/grpc/application.py", "read_max_bytes=limit,", "", f"{_MESSAGE} -k [84-"),
    sent(85, *_STRICT),
]  # fmt: skip
