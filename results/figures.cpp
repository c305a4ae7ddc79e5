#include "results/figures.h"

#include <algorithm>
#include <cctype>

#include "core/unit_text.h"

namespace kvhaul {
namespace {

constexpr auto p50 = Statistic::p50;
constexpr auto p99 = Statistic::p99;

double seconds(TimeNs time) { return static_cast<double>(time) / 1e9; }

std::optional<double> per_second(double amount, TimeNs time) {
  if (time <= 0) return std::nullopt;
  return amount / (static_cast<double>(time) * 1e-9);
}

std::optional<double> per_gpu(const RunSummary& s, std::uint64_t tokens, std::uint64_t gpus) {
  const auto rate = per_second(static_cast<double>(tokens), s.duration_ns);
  return rate && gpus > 0 ? std::optional(*rate / static_cast<double>(gpus)) : std::nullopt;
}

/// Of a run in which no time passed there is none.
std::optional<double> over_time(const RunSummary& s, double mean) {
  return s.uses.end_ns > 1 ? std::optional(mean) : std::nullopt;
}

std::uint64_t outcomes(const RunSummary& s, TransferOutcome outcome) {
  return s.transfers_by_outcome[static_cast<std::size_t>(outcome)];
}

double per_attempt(const RunSummary& s, std::uint64_t runs) {
  const std::uint64_t attempts =
      s.requests.completed + s.requests.transfer_failed + s.requests.retries;
  return static_cast<double>(runs) / std::max<double>(1, static_cast<double>(attempts));
}

const Histogram& path(const RunSummary& s, PathPart part) {
  return s.path_ns[static_cast<std::size_t>(part)];
}

using S = RunSummary;

const Figure all_figures[] = {
    {.key = "duration_s",
     .unit = Unit::s,
     .label = "duration",
     .help = "time 0 of the trace to the last token of the last completed request, or to the last "
             "landing where that is later",
     .value = [](const S& s) { return seconds(s.duration_ns); },
     .compared = 160},
    {.key = "registration_s",
     .unit = Unit::s,
     .label = "registration",
     .help = "before the run: registering KV memory with the NICs at the scenario's "
             "`registration_rate`, on the node that takes longest",
     .value = [](const S& s) { return seconds(s.requests.registration_ns); }},

    {.key = "requests.rows",
     .unit = Unit::count,
     .label = "rows of the trace",
     .help = "rows read from the trace",
     .value = [](const S& s) { return s.trace.rows; }},
    {.key = "requests.replayed",
     .unit = Unit::count,
     .label = "requests replayed",
     .help = "requests taken from it after filters",
     .value = [](const S& s) { return s.requests.requests; }},
    {.key = "requests.completed",
     .unit = Unit::count,
     .label = "requests completed",
     .help = "got all their KV and all their tokens",
     .value = [](const S& s) { return s.requests.completed; },
     .compared = 150,
     .swept = {{140, "completed"}}},
    {.key = "requests.transfer_failed",
     .unit = Unit::count,
     .label = "requests that lost their KV",
     .help = "lost their KV for good; makes the exit code 1",
     .value = [](const S& s) { return s.requests.transfer_failed; }},
    {.key = "requests.retried",
     .unit = Unit::count,
     .label = "requests prefilled again",
     .help = "lost KV on the way, or were taken from an instance that was gone, and were prefilled "
             "again, whatever became of them then",
     .value = [](const S& s) { return s.requests.retried; }},
    {.key = "requests.retries",
     .unit = Unit::count,
     .label = "further attempts",
     .help = "how often in all",
     .value = [](const S& s) { return s.requests.retries; }},
    {.key = "requests.too_large",
     .unit = Unit::count,
     .label = "requests too large for an instance",
     .help = "their KV fits no instance; where none was completed or lost, the exit code is 1",
     .value = [](const S& s) { return s.requests.too_large; }},
    {.key = "requests.failed_in_trace",
     .unit = Unit::count,
     .label = "requests without output in the trace",
     .help = "no output tokens in the trace; not replayed",
     .value = [](const S& s) { return s.requests.failed_in_trace; }},
    {.key = "requests.zero_input_dropped",
     .unit = Unit::count,
     .label = "rows without input",
     .help = "rows without input tokens; dropped",
     .value = [](const S& s) { return s.trace.zero_input; }},
    {.key = "requests.input_tokens",
     .unit = Unit::count,
     .label = "input tokens",
     .help = "of replayed requests, once for each time that they were given to an instance",
     .value = [](const S& s) { return s.requests.input_tokens; }},
    {.key = "requests.cached_tokens",
     .unit = Unit::count,
     .label = "cached tokens",
     .help = "of those, found in the prefix cache: not computed; moved like the rest",
     .value = [](const S& s) { return s.requests.cached_tokens; }},
    {.key = "requests.output_tokens",
     .unit = Unit::count,
     .label = "output tokens",
     .help = "of completed requests",
     .value = [](const S& s) { return s.output_tokens; }},
    {.key = "requests.completed_per_s",
     .unit = Unit::requests_per_s,
     .label = "request throughput",
     .help = "completed requests / duration",
     .value =
         [](const S& s) {
           return per_second(static_cast<double>(s.requests.completed), s.duration_ns).value_or(0);
         }},

    {.key = "ttft_ms",
     .unit = Unit::ms,
     .label = "time to first token",
     .help = "TTFT: first token - arrival = queue + prefill + hand-over",
     .value = &S::ttft_ns,
     .shown = Figure::in_terminal | Figure::in_tiles | Figure::in_report,
     .compared = 10,
     .swept = {{10, "ttft_p50_ms", p50, "TTFT p50", true},
               {20, "ttft_p99_ms", p99, "TTFT p99", true}}},
    {.key = "queue_ms",
     .unit = Unit::ms,
     .label = "queue",
     .help = "start of prefill - arrival",
     .value = &S::queue_ns,
     .shown = Figure::in_terminal | Figure::in_report | Figure::part,
     .compared = 20},
    {.key = "prefill_memory_ms",
     .unit = Unit::ms,
     .label = "prefill memory",
     .help = "of the queue: the prefill instance had nothing to compute, and no pages for the next "
             "request, since those before it still held theirs",
     .value = &S::prefill_memory_ns,
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "prefill_ms",
     .unit = Unit::ms,
     .label = "prefill",
     .help = "end of prefill - start of prefill",
     .value = &S::prefill_ns,
     .shown = Figure::in_terminal | Figure::in_report | Figure::part,
     .compared = 30},
    {.key = "handover_ms",
     .unit = Unit::ms,
     .label = "hand-over",
     .help = "first decode step - end of prefill = memory + exposed transfer + step + seat",
     .value = &S::handover_ns,
     .shown = Figure::in_terminal | Figure::in_report | Figure::part,
     .compared = 35},
    {.key = "handover.memory_ms",
     .unit = Unit::ms,
     .label = "decode memory",
     .help = "of the hand-over: waiting for pages of the decode side",
     .value = &S::memory_ns,
     .shown = Figure::in_report | Figure::part | Figure::subpart,
     .compared = 36},
    {.key = "exposed_transfer_ms",
     .unit = Unit::ms,
     .label = "exposed transfer",
     .help = "of the hand-over: the part of the transfer that computation did not hide = the seven "
             "below",
     .value = &S::exposed_ns,
     .shown = Figure::in_terminal | Figure::in_tiles | Figure::in_report | Figure::part |
              Figure::subpart,
     .compared = 40,
     .swept = {{30, "exposed_p50_ms", p50, "exposed p50", true},
               {40, "exposed_p99_ms", p99, "exposed p99", true}}},
    {.key = "handover.post_ms",
     .unit = Unit::ms,
     .label = "posting",
     .help = "of the exposed transfer: the posting thread worked on its chunk or on one "
             "before it, or the serving engine (`engine`) on the request",
     .value = [](const S& s) -> const Histogram& { return path(s, PathPart::post); },
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "handover.wire_ms",
     .unit = Unit::ms,
     .label = "wire",
     .help = "of the exposed transfer: its chunk was on the links, or another one before it "
             "on its channel",
     .value = [](const S& s) -> const Histogram& { return path(s, PathPart::wire); },
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "handover.detect_ms",
     .unit = Unit::ms,
     .label = "detection",
     .help = "of the exposed transfer: all had landed, and the scheduler or the other side "
             "had not heard of it",
     .value = [](const S& s) -> const Histogram& { return path(s, PathPart::detect); },
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "handover.window_ms",
     .unit = Unit::ms,
     .label = "window",
     .help = "of the exposed transfer: a window of the scheduler was full of chunks that had "
             "left the wire and were not back yet",
     .value = [](const S& s) -> const Histogram& { return path(s, PathPart::window); },
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "handover.credit_ms",
     .unit = Unit::ms,
     .label = "credit",
     .help = "of the exposed transfer: the same with the credit of the target, or more of it "
             "was to be granted",
     .value = [](const S& s) -> const Histogram& { return path(s, PathPart::credit); },
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "handover.order_ms",
     .unit = Unit::ms,
     .label = "order",
     .help = "of the exposed transfer: room was kept for a more urgent transfer, or had gone "
             "to one that came later",
     .value = [](const S& s) -> const Histogram& { return path(s, PathPart::order); },
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "handover.fault_ms",
     .unit = Unit::ms,
     .label = "faults",
     .help = "of the exposed transfer: an attempt was lost, or no channel was believed to work",
     .value = [](const S& s) -> const Histogram& { return path(s, PathPart::fault); },
     .shown = Figure::in_report | Figure::part | Figure::subpart},
    {.key = "handover.step_ms",
     .unit = Unit::ms,
     .label = "decode step",
     .help = "of the hand-over: all had landed while a decode step ran, and it had to end first",
     .value = &S::step_ns,
     .shown = Figure::in_report | Figure::part | Figure::subpart,
     .compared = 44},
    {.key = "handover.seat_ms",
     .unit = Unit::ms,
     .label = "decode seat",
     .help = "of the hand-over: then, no place in the batch (`max_batch`) was free",
     .value = &S::seat_ns,
     .shown = Figure::in_report | Figure::part | Figure::subpart,
     .compared = 45},
    {.key = "itl_ms",
     .unit = Unit::ms,
     .label = "inter-token latency",
     .help = "ITL, per request: (end to end - TTFT) / (output tokens - 1); of requests with two "
             "output tokens or more",
     .value = &S::itl_ns,
     .shown = Figure::in_terminal | Figure::in_tiles | Figure::in_report,
     .compared = 60,
     .swept = {{60, "itl_p50_ms", p50, "ITL p50"}}},
    {.key = "token_itl_ms",
     .unit = Unit::ms,
     .label = "of every token",
     .help = "ITL of all tokens together, so that stalls show: token - the one before it",
     .value = &S::token_itl_ns,
     .shown = Figure::in_report | Figure::part},
    {.key = "e2e_ms",
     .unit = Unit::ms,
     .label = "end to end",
     .help = "last token - arrival (AIPerf: request latency)",
     .value = &S::e2e_ns,
     .shown = Figure::in_report},
    {.key = "exposed_transfer_share_of_ttft",
     .unit = Unit::share,
     .label = "its share of the sum",
     .help = "sum of exposed transfer / sum of TTFT, over all completed requests",
     .value = [](const S& s) -> std::optional<double> {
       if (s.ttft_ns.sum() <= 0) return std::nullopt;
       return s.exposed_ns.sum() / s.ttft_ns.sum();
     },
     .shown = Figure::part | Figure::subpart,
     .compared = 42,
     .swept = {{50, "exposed_share_of_ttft"}}},
    {.key = "slo_attainment",
     .unit = Unit::share,
     .label = "SLO attained",
     .help =
         "requests with TTFT and ITL within the scenario's `slo` / (completed requests + requests "
         "that lost their KV): who is lost has missed it. Only where the scenario has one",
     .value = [](const S& s) -> std::optional<double> {
       const std::uint64_t served = s.requests.completed + s.requests.transfer_failed;
       if (!s.has_slo || served == 0) return std::nullopt;
       return static_cast<double>(s.slo_attained) / static_cast<double>(served);
     },
     .shown = Figure::in_terminal | Figure::in_tiles | Figure::with_slo,
     .compared = 70,
     .swept = {{70, "slo_attainment", {}, "SLO", true}}},
    {.key = "goodput_per_s",
     .unit = Unit::requests_per_s,
     .label = "goodput",
     .help = "requests with TTFT and ITL within the scenario's `slo` / duration; null where the "
             "scenario "
             "has none",
     .value = [](const S& s) -> std::optional<double> {
       if (!s.has_slo) return std::nullopt;
       return per_second(static_cast<double>(s.slo_attained), s.duration_ns);
     },
     .shown = Figure::in_terminal | Figure::in_tiles,
     .compared = 75,
     .swept = {{75, "goodput_per_s", {}, "goodput", true}}},

    {.key = "tokens_per_s.input",
     .unit = Unit::tokens_per_s,
     .label = "input throughput",
     .help = "input tokens of completed requests, cached ones included / duration",
     .value = [](const S& s) -> std::optional<double> {
       return per_second(static_cast<double>(s.input_tokens), s.duration_ns);
     }},
    {.key = "tokens_per_s.output",
     .unit = Unit::tokens_per_s,
     .label = "output throughput",
     .help = "output tokens of completed requests / duration",
     .value = [](const S& s) -> std::optional<double> {
       return per_second(static_cast<double>(s.output_tokens), s.duration_ns);
     },
     .shown = Figure::in_tiles,
     .compared = 76,
     .swept = {{76, "output_tokens_per_s"}}},
    {.key = "tokens_per_s.input_per_prefill_gpu",
     .unit = Unit::tokens_per_s,
     .label = "input per prefill GPU",
     .help = "`tokens_per_s.input` / (prefill instances x GPUs that each stands for)",
     .value = [](const S& s) { return per_gpu(s, s.input_tokens, s.uses.prefill.gpus); }},
    {.key = "tokens_per_s.output_per_decode_gpu",
     .unit = Unit::tokens_per_s,
     .label = "output per decode GPU",
     .help = "`tokens_per_s.output` / (decode instances x GPUs that each stands for)",
     .value = [](const S& s) { return per_gpu(s, s.output_tokens, s.uses.decode.gpus); }},
    {.key = "tokens_per_s.output_per_gpu",
     .unit = Unit::tokens_per_s,
     .label = "output per GPU",
     .help = "`tokens_per_s.output` / GPUs of both sides together",
     .value =
         [](const S& s) {
           return per_gpu(s, s.output_tokens, s.uses.prefill.gpus + s.uses.decode.gpus);
         },
     .compared = 77},

    {.key = "prefill.utilisation",
     .unit = Unit::share,
     .label = "prefill utilisation",
     .help = "time in which prefill instances computed / (time of the run x instances); with "
             "pipeline stages, of each stage",
     .value = [](const S& s) { return over_time(s, s.uses.prefill.mean.utilisation); },
     .shown = Figure::in_tiles,
     .compared = 131,
     .swept = {{101, "prefill_utilisation"}}},
    {.key = "prefill.queue",
     .unit = Unit::count,
     .label = "prefill queue",
     .help = "requests given to prefill instances whose prefill has not begun: mean over the time "
             "of the run, all instances together",
     .value = [](const S& s) { return over_time(s, s.uses.prefill.mean.queue); },
     .compared = 132},
    {.key = "prefill.kv_fill",
     .unit = Unit::share,
     .label = "prefill KV fill",
     .help = "KV pages held for requests, from the start of prefill until all has been moved / KV "
             "pages of the prefill instances: mean over the time of the run",
     .value = [](const S& s) { return over_time(s, s.uses.prefill.mean.kv_fill); },
     .compared = 133},
    {.key = "decode.utilisation",
     .unit = Unit::share,
     .label = "decode utilisation",
     .help = "time in which decode instances were in a decode step / (time of the run x instances)",
     .value = [](const S& s) { return over_time(s, s.uses.decode.mean.utilisation); },
     .shown = Figure::in_tiles,
     .compared = 134,
     .swept = {{102, "decode_utilisation"}}},
    {.key = "decode.batch",
     .unit = Unit::count,
     .label = "decode batch",
     .help = "sequences in a decode step, mean over the time of all steps",
     .value = [](const S& s) -> std::optional<double> {
       const double batch = s.uses.decode.mean.batch;
       return batch > 0 ? std::optional(batch) : std::nullopt;
     },
     .compared = 135},
    {.key = "decode.queue",
     .unit = Unit::count,
     .label = "decode queue",
     .help =
         "requests that wait for pages of a decode instance, or have landed there and are in no "
         "decode step yet: mean over the time of the run, all instances together",
     .value = [](const S& s) { return over_time(s, s.uses.decode.mean.queue); },
     .compared = 136},
    {.key = "decode.kv_fill",
     .unit = Unit::share,
     .label = "decode KV fill",
     .help = "KV pages held for requests, from their reservation to the last token / KV pages of "
             "the decode instances: mean over the time of the run",
     .value = [](const S& s) { return over_time(s, s.uses.decode.mean.kv_fill); },
     .compared = 137},

    {.key = "transfers.count",
     .unit = Unit::count,
     .label = "transfers",
     .help = "transfers that ended, whatever their outcome",
     .value = [](const S& s) { return s.transfers; }},
    {.key = "transfers.delivered",
     .unit = Unit::count,
     .label = "transfers delivered",
     .help = "every byte in its place",
     .value = [](const S& s) { return outcomes(s, TransferOutcome::delivered); }},
    {.key = "transfers.cancelled",
     .unit = Unit::count,
     .label = "transfers cancelled",
     .help = "their request was taken to other instances",
     .value = [](const S& s) { return outcomes(s, TransferOutcome::cancelled); }},
    {.key = "transfers.failed",
     .unit = Unit::count,
     .label = "transfers failed",
     .help = "a chunk used up its attempts, or the post was invalid",
     .value = [](const S& s) { return outcomes(s, TransferOutcome::failed); }},
    {.key = "transfers.no_route",
     .unit = Unit::count,
     .label = "transfers without a route",
     .help = "no channel was usable for too long",
     .value = [](const S& s) { return outcomes(s, TransferOutcome::no_route); }},
    {.key = "transfers.bytes",
     .unit = Unit::bytes,
     .label = "KV moved",
     .help = "bytes of delivered transfers; bytes sent again count once",
     .value = [](const S& s) { return s.delivered_bytes; },
     .shown = Figure::in_tiles,
     .compared = 120},
    {.key = "transfers.chunks",
     .unit = Unit::count,
     .label = "chunks",
     .help = "posted, those sent again included",
     .value = [](const S& s) { return s.scheduler.chunks_posted; }},
    {.key = "transfers.pieces",
     .unit = Unit::count,
     .label = "pieces",
     .help = "descriptors after coalescing",
     .value = [](const S& s) { return s.pieces; }},
    {.key = "transfers.packed",
     .unit = Unit::count,
     .label = "transfers packed",
     .help = "transfers whose pieces were gathered by `pack`",
     .value = [](const S& s) { return s.packed_transfers; }},
    {.key = "transfers.on_fallback_route",
     .unit = Unit::count,
     .label = "transfers on a fallback route",
     .help = "transfers that used a route other than the preferred kind",
     .value = [](const S& s) { return s.fallback_transfers; }},
    {.key = "transfers.resent_chunks",
     .unit = Unit::count,
     .label = "chunks sent again",
     .help = "posted again after an error or a timeout",
     .value = [](const S& s) { return s.scheduler.chunks_resent; },
     .compared = 140},
    {.key = "transfers.resent_bytes",
     .unit = Unit::bytes,
     .label = "sent again",
     .help = "bytes of those",
     .value = [](const S& s) { return s.resent_bytes; }},
    {.key = "transfers.resent_share",
     .unit = Unit::share,
     .label = "share sent again",
     .help =
         "bytes sent again / (bytes of delivered transfers + bytes sent again): what faults took "
         "from the links",
     .value = [](const S& s) -> std::optional<double> {
       const auto again = static_cast<double>(s.resent_bytes);
       const double sent = static_cast<double>(s.delivered_bytes) + again;
       return sent > 0 ? std::optional(again / sent) : std::nullopt;
     },
     .compared = 141},
    {.key = "transfers.mean_bytes",
     .unit = Unit::bytes,
     .label = "mean size of a transfer",
     .help = "of delivered transfers",
     .value = [](const S& s) -> std::optional<double> {
       if (s.transfer_bytes.count() == 0) return std::nullopt;
       return s.transfer_bytes.mean();
     }},
    {.key = "transfers.time_ms",
     .unit = Unit::ms,
     .label = "one KV transfer",
     .help = "reported - submitted, of delivered transfers: the sum of the four below",
     .value = &S::transfer_ns,
     .shown = Figure::in_terminal | Figure::in_report,
     .compared = 80,
     .swept = {{80, "transfer_p50_ms", p50, "", true}, {90, "transfer_p99_ms", p99}}},
    {.key = "transfers.wait_ms",
     .unit = Unit::ms,
     .label = "wait",
     .help = "for the scheduler: window, credit, order and faults (as in `handover`)",
     .value = &S::wait_ns,
     .shown = Figure::in_report | Figure::part,
     .compared = 90},
    {.key = "transfers.post_ms",
     .unit = Unit::ms,
     .label = "posting",
     .help = "the posting thread worked on its chunk, or on one before it",
     .value = &S::post_ns,
     .shown = Figure::in_report | Figure::part,
     .compared = 100},
    {.key = "transfers.wire_ms",
     .unit = Unit::ms,
     .label = "wire",
     .help =
         "its chunk was on the links, latency included, or another one before it on its channel",
     .value = &S::wire_ns,
     .shown = Figure::in_report | Figure::part,
     .compared = 110},
    {.key = "transfers.detect_ms",
     .unit = Unit::ms,
     .label = "detection",
     .help = "reported - landed: how late the completion was seen",
     .value = &S::detect_ns,
     .shown = Figure::in_report | Figure::part},
    {.key = "transfers.wire_busy_s",
     .unit = Unit::s,
     .label = "busy time",
     .help = "length of the union of all [started, landed]: at least one chunk was on the wire; "
             "posting is not in it",
     .value = [](const S& s) { return seconds(s.wire_busy_ns); }},
    {.key = "transfers.gbytes_per_s_while_busy",
     .unit = Unit::gbytes_per_s,
     .label = "GB/s while busy",
     .help = "bytes landed / busy time, over all channels together: how fast the wire was while it "
             "was used, however seldom that was",
     .value = [](const S& s) -> std::optional<double> {
       const auto rate = per_second(static_cast<double>(s.landed_bytes), s.wire_busy_ns);
       return rate ? std::optional(*rate / 1e9) : std::nullopt;
     },
     .shown = Figure::in_tiles,
     .compared = 130,
     .swept = {{100, "gbytes_per_s", {}, "GB/s", true}}},

    {.key = "page_runs_per_request.source",
     .unit = Unit::count,
     .label = "page runs, source",
     .help = "maximal runs of neighbouring KV pages / attempts to serve a request, prefill side",
     .value = [](const S& s) { return per_attempt(s, s.requests.source_runs); }},
    {.key = "page_runs_per_request.target",
     .unit = Unit::count,
     .label = "page runs, target",
     .help = "the same, decode side",
     .value = [](const S& s) { return per_attempt(s, s.requests.target_runs); }},

    {.key = "channels.probes",
     .unit = Unit::count,
     .label = "probes",
     .help = "chunks without bytes that were sent to find out whether a channel or link works",
     .value = [](const S& s) { return s.scheduler.probes; }},
    {.key = "channels.late",
     .unit = Unit::count,
     .label = "late chunks",
     .help = "chunks that took longer than they should, whether they landed after all or not",
     .value = [](const S& s) { return s.scheduler.late; }},
    {.key = "channels.timeouts",
     .unit = Unit::count,
     .label = "timeouts",
     .help = "chunks given up because no completion came",
     .value = [](const S& s) { return s.scheduler.timeouts; }},
    {.key = "channels.errors",
     .unit = Unit::count,
     .label = "errors",
     .help = "completions that were neither `ok` nor asked for",
     .value = [](const S& s) { return s.scheduler.errors; }},
    {.key = "channels.quarantines",
     .unit = Unit::count,
     .label = "quarantines",
     .help = "times a channel, or a link that several cross, was taken out of use",
     .value = [](const S& s) { return s.scheduler.quarantines; }},
    {.key = "channels.readmissions",
     .unit = Unit::count,
     .label = "readmissions",
     .help = "times one was taken back after a probe",
     .value = [](const S& s) { return s.scheduler.readmissions; }},
    {.key = "channels.unexpected_completions",
     .unit = Unit::count,
     .label = "unexpected completions",
     .help = "of chunks that were not in flight; dropped",
     .value = [](const S& s) { return s.scheduler.unexpected; }},

    {.key = "rows.requests",
     .unit = Unit::count,
     .label = "rows of requests.csv",
     .help = "rows of requests.csv, without its header; readers hold the file against it",
     .value = [](const S& s) { return s.rows.requests; }},
    {.key = "rows.transfers",
     .unit = Unit::count,
     .label = "rows of transfers.csv",
     .help = "of transfers.csv, likewise",
     .value = [](const S& s) { return s.rows.transfers; }},
    {.key = "rows.links",
     .unit = Unit::count,
     .label = "rows of links.csv",
     .help = "of links.csv, likewise",
     .value = [](const S& s) { return s.rows.links; }},
    {.key = "rows.instances",
     .unit = Unit::count,
     .label = "rows of instances.csv",
     .help = "of instances.csv, likewise",
     .value = [](const S& s) { return s.rows.instances; }},
    {.key = "payload.checked_transfers",
     .unit = Unit::count,
     .label = "checksums compared",
     .help = "checksums compared",
     .value = [](const S& s) { return s.requests.checked_transfers; }},
    {.key = "payload.damaged_transfers",
     .unit = Unit::count,
     .label = "checksums that were wrong",
     .help = "of those, wrong; the transfer was made again",
     .value = [](const S& s) { return s.requests.damaged_transfers; }},
};

/// How values of a unit are shown in tables.
struct ShownUnit {
  const char* name;  // in summary.json
  const char* in_table;
  double factor;  // from the one to the other
};
ShownUnit shown_unit(Unit unit) {
  switch (unit) {
    case Unit::count:
      return {"count", "", 1};
    case Unit::bytes:
      return {"bytes", "GB", 1e-9};
    case Unit::ms:
      return {"ms", "ms", 1};
    case Unit::s:
      return {"s", "s", 1};
    case Unit::share:
      return {"share", "%", 100};
    case Unit::gbytes_per_s:
      return {"GB/s", "GB/s", 1};
    case Unit::requests_per_s:
      return {"requests/s", "requests/s", 1};
    case Unit::tokens_per_s:
      return {"tokens/s", "tokens/s", 1};
  }
  return {};
}

bool begins_with_unit(const Figure& figure) {
  const std::string_view unit = shown_unit(figure.unit).in_table;
  return !unit.empty() && std::string_view(figure.label).starts_with(std::string(unit) + " ");
}

/// ", ms" behind a label that does not say it itself.
std::string unit_behind(const Figure& figure) {
  const std::string unit = shown_unit(figure.unit).in_table;
  return unit.empty() || begins_with_unit(figure) ? "" : ", " + unit;
}

std::string key_of(const Figure& figure, Statistic statistic) {
  const std::string key = figure.key;
  return figure.is_distribution() ? key + "." + std::string(statistic_name(statistic)) : key;
}

std::vector<ComparedFigure> make_compared() {
  std::vector<const Figure*> sorted;
  for (const Figure& figure : all_figures)
    if (figure.compared != 0) sorted.push_back(&figure);
  std::ranges::stable_sort(sorted, {}, &Figure::compared);
  std::vector<ComparedFigure> rows;
  for (const Figure* figure : sorted) {
    const bool part = figure->is(Figure::part);
    const double factor = shown_unit(figure->unit).factor;
    const std::string unit = unit_behind(*figure);
    const std::string label = indent_of(*figure) + figure->label;
    if (!figure->is_distribution()) {
      rows.push_back({figure->key, label + unit, figure->label + unit, factor, part,
                      figure->is(Figure::subpart)});
      continue;
    }
    for (const Statistic statistic : {p50, p99}) {
      std::string which = " ";
      which.append(statistic_name(statistic)).append(unit);
      const std::string before = statistic == p50 ? label : std::string(label.size(), ' ');
      rows.push_back({key_of(*figure, statistic), before + which, figure->label + which, factor,
                      part, figure->is(Figure::subpart)});
    }
  }
  return rows;
}

std::vector<SweptFigure> make_swept() {
  std::vector<SweptFigure> columns;
  for (const Figure& figure : all_figures)
    for (const SweepColumn& column : figure.swept) {
      std::string title = figure.title();
      title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
      if (figure.is_distribution()) title.append(", ").append(statistic_name(column.statistic));
      columns.push_back({&column, key_of(figure, column.statistic), title, figure.unit});
    }
  std::ranges::stable_sort(columns, {}, [](const SweptFigure& f) { return f.column->place; });
  return columns;
}

/// "replay, compare, sweep (`itl_p50_ms`), report"
std::string shown_by(const Figure& figure) {
  std::string out;
  const auto add = [&](const std::string& command) { out += (out.empty() ? "" : ", ") + command; };
  if (figure.is(Figure::in_terminal)) add("replay");
  if (figure.compared != 0) add("compare");
  std::string columns;
  for (const SweepColumn& column : figure.swept)
    columns += (columns.empty() ? "`" : ", `") + std::string(column.name) + "`";
  if (!columns.empty()) add("sweep (" + columns + ")");
  if (figure.is(Figure::in_tiles) || figure.is(Figure::in_report)) add("report");
  return out;
}

}  // namespace

std::string_view unit_name(Unit unit) { return shown_unit(unit).name; }

std::string_view statistic_name(Statistic statistic) {
  static constexpr std::string_view names[] = {"mean", "p50", "p90", "p99", "max"};
  return names[static_cast<std::size_t>(statistic)];
}

std::string Figure::title() const {
  const std::string_view all = label;
  return std::string(begins_with_unit(*this) ? all.substr(all.find(' ') + 1) : all);
}

std::span<const Figure> figures() { return all_figures; }

std::string indent_of(const Figure& figure) {
  return figure.is(Figure::subpart) ? "    " : figure.is(Figure::part) ? "  " : "";
}

const Histogram& distribution_of(const Figure& figure, const RunSummary& summary) {
  if (const auto* of = std::get_if<4>(&figure.value)) return (*of)(summary);
  return summary.*std::get<0>(figure.value);
}

double statistic_of(const Histogram& histogram, Statistic statistic) {
  switch (statistic) {
    case Statistic::mean:
      return histogram.mean();
    case Statistic::p50:
      return histogram.percentile(0.5);
    case Statistic::p90:
      return histogram.percentile(0.9);
    case Statistic::p99:
      return histogram.percentile(0.99);
    case Statistic::max:
      return static_cast<double>(histogram.most());
  }
  return 0;
}

std::optional<double> number_of(const Figure& figure, const RunSummary& summary) {
  if (const auto* whole = std::get_if<1>(&figure.value))
    return static_cast<double>((*whole)(summary));
  if (const auto* number = std::get_if<2>(&figure.value)) return (*number)(summary);
  if (const auto* maybe = std::get_if<3>(&figure.value)) return (*maybe)(summary);
  return std::nullopt;
}

std::string value_text(Unit unit, double value, int digits) {
  const ShownUnit shown = shown_unit(unit);
  const std::string name = shown.in_table;
  const std::string text = number_text(value * shown.factor, digits);
  return name.empty() || name == "%" ? text + name : text + " " + name;
}

std::span<const ComparedFigure> compared_figures() {
  static const std::vector<ComparedFigure> rows = make_compared();
  return rows;
}

std::span<const SweptFigure> swept_figures() {
  static const std::vector<SweptFigure> columns = make_swept();
  return columns;
}

std::string figures_markdown() {
  std::string out = "| key | unit | what it is | shown by |\n|---|---|---|---|\n";
  for (const Figure& figure : all_figures)
    out += "| `" + std::string(figure.key) + "` | " + std::string(unit_name(figure.unit)) + " | " +
           figure.help + " | " + shown_by(figure) + " |\n";
  return out;
}

}  // namespace kvhaul
