"""The table of threats names tests that exist, and no bad input is without one."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.defences import DEFENCES
from tests.docs.input_defences import NOT_OURS
from tests.server.bad_inputs import CASES, RAW
from tests.server.test_bad_input import MESSAGES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threats.md").read_text()

ELSEWHERE = {
    20: "tests/server/test_http1.py::test_a_body_that_dribbles_is_dropped_and_one_that_only_is_slow_is_not",
    21: "tests/server/test_http1.py::test_who_is_silent_for_too_long_is_dropped",
    30: "tests/server/test_bad_input.py::test_it_is_refused_with_a_sentence",
    35: "tests/serving/test_gate.py::test_a_key_opens_its_models_and_no_other",
    36: "tests/serving/test_service.py::test_a_load_stalls_nobody_else_and_goes_on_when_its_caller_cannot_wait",
    40: "tests/codecs/test_tensors.py::test_lengths_that_lie_are_refused",
    48: "tests/protocols/test_open_inference.py::test_numbers_that_json_has_no_token_for_are_read",
    49: "tests/protocols/test_open_inference_grpc.py::test_raw_tensors_of_every_datatype_go_there_and_back",
    50: "tests/protocols/test_open_inference_grpc.py::test_values_that_do_not_fit_a_small_integer_are_refused",
    53: "tests/protocols/test_open_inference_grpc.py::test_strings_that_are_cut_off_or_too_many",
    60: "tests/serving/test_gate.py::test_a_key_opens_its_routes_and_no_other",
    61: "tests/server/test_keys.py::test_a_key_works_within_a_second_of_its_making_and_stops_within_one_of_its_end",
    62: "tests/serving/test_gcra.py::test_in_no_time_does_more_come_through_than_a_quota_and_what_drains",
    63: "tests/server/test_bad_input.py::test_a_full_queue_is_503_with_the_time_to_come_back",
    64: "tests/server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once",
    65: "tests/server/test_limits.py::test_a_hundred_attempts_at_once_are_one_call",
    66: "tests/server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once",
    67: "tests/server/test_limits.py::test_a_retry_with_the_same_key_gets_the_same_answer_and_is_billed_once",
    68: "tests/server/test_limits.py::test_what_is_no_idempotency_key_or_two_of_them_is_refused",
    69: "tests/server/test_disconnect.py::test_calls_whose_clients_have_gone_free_their_work_and_cost_nothing",
    70: "tests/server/test_sealed.py::test_what_is_refused_costs_nothing_and_what_is_answered_costs_by_its_rows",
    71: "tests/server/test_sealed.py::test_what_is_refused_costs_nothing_and_what_is_answered_costs_by_its_rows",
    72: "tests/engines/test_sealed_replay.py::test_no_call_is_ever_taken_twice_within_its_time",
    73: "tests/engines/test_sealed_batch.py::test_a_point_of_low_order_opens_nothing",
    74: "tests/models/test_formats.py::test_what_can_run_code_is_refused_by_its_bytes_whatever_it_is_called",
    75: "tests/models/test_archive.py::test_an_archive_that_would_leave_its_folder_is_refused_and_leaves_nothing",
    76: "tests/models/test_importers_torch.py::test_weights_that_lie_about_themselves_are_refused",
    77: "tests/protocols/test_plain.py::test_any_bytes_behind_the_magic_are_an_array_or_a_refusal",
    78: "tests/models/test_onnx_admission.py::test_mutated_graphs_harm_nobody_but_the_process_that_tries_them",
    79: "tests/models/test_onnx_admission.py::test_a_bomb_is_found_before_anything_of_it_is_made",
    80: "tests/models/test_formats.py::test_looking_never_fails",
    81: "tests/models/test_signature.py::test_without_a_trusted_signature_a_package_is_refused",
    82: "tests/server/test_mutual_tls.py::test_a_certificate_of_another_time_does_not_come_past_the_handshake",
    83: "tests/server/test_hostile.py::test_a_flood_of_frames_ends_its_own_connection",
    85: "tests/server/test_mutual_tls.py::test_a_handshake_that_is_none_ends_and_others_go_on",
}
"""Rows of bad inputs whose test stands somewhere else than in the table of bytes."""


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    file = ROOT / path
    return file.is_file() and re.search(rf"^(async )?def {name}\(", file.read_text(), re.MULTILINE) is not None


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[^`]+::[^`]+)`", PAGE)
    assert len(named) > 40
    assert [test for test in [*named, *ELSEWHERE.values()] if not exists(test)] == []


def test_every_attack_has_a_test_or_says_why_there_is_none() -> None:
    attacks = PAGE.partition("## Attacks")[2].partition("## Bad inputs")[0]
    rows = [line for line in attacks.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 25
    assert [row[:40] for row in rows if "::" not in row] == ["| an injected prompt | the server calls "]


def test_no_bad_input_is_without_a_test() -> None:
    tested = {case.row for case in (*CASES, *RAW, *MESSAGES)} | set(ELSEWHERE)
    assert set(range(1, 86)) == tested


def test_every_defence_is_where_it_is_taken_out_and_is_missed_by_a_test_of_the_page() -> None:
    for defence in DEFENCES:
        for file, there, gone in defence.edits:
            assert (ROOT / "src" / "airserve" / file).read_text().count(there) == 1, (defence, file)
            assert there != gone
        test = f"tests/{defence.test.split()[0]}"
        assert exists(test), defence
        named = f"`{test}`" in PAGE or test in ELSEWHERE.values()
        assert named or defence.attack.startswith("bad input "), defence


def test_every_attack_and_every_bad_input_has_a_defence_that_can_be_taken_out() -> None:
    tests = {f"tests/{defence.test.split()[0]}" for defence in DEFENCES}
    attacks = PAGE.partition("## Attacks")[2].partition("## Bad inputs")[0]
    rows = [set(re.findall(r"`(tests/[^`]+::[^`]+)`", line)) for line in attacks.splitlines() if "::" in line]
    assert [row for row in rows if not row & tests] == []
    defended = {int(found[1]) for each in DEFENCES if (found := re.match(r"bad input (\d+):", each.attack))}
    assert defended | set(NOT_OURS) == set(range(1, 86))
    assert not defended & set(NOT_OURS)
