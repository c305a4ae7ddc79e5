#include "results/run_files.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include "core/unit_text.h"
#include "serving/kv_move.h"
#include "serving/memory_fit.h"

namespace kvhaul {
namespace {

constexpr std::string_view requests_header =
    "request,line,outcome,arrival_s,input_tokens,output_tokens,cached_tokens,prefill_instance,"
    "decode_instance,queue_ms,prefill_memory_ms,prefill_ms,handover_ms,memory_ms,exposed_transfer_"
    "ms,step_ms,seat_ms,"
    "post_ms,wire_ms,detect_ms,window_ms,credit_ms,order_ms,fault_ms,last_link,ttft_ms,itl_ms,e2e_"
    "ms,bytes,"
    "retries,slot\n";
constexpr std::string_view transfers_header =
    "request,prefill_chunk,route,tier,transfers,bytes,chunks,pieces,gather,resent_chunks,"
    "resent_bytes,failed_transfers,damaged_transfers,submitted_s,duration_ms,wait_ms,post_ms,"
    "wire_ms,detect_ms,retry\n";

/// The first token is given out when decode takes the request on.
TimeNs ttft_of(const RequestResult& r) { return r.joined_ns - r.arrival_ns; }

TimeNs itl_of(const RequestResult& r) {
  return r.output_tokens > 1 ? (r.finished_ns - r.joined_ns) / (r.output_tokens - 1) : 0;
}

/// "each|pack": the methods of a row's transfers.
std::string gather_names(std::uint8_t gathers) {
  std::string names;
  for (std::size_t m = 0; m < gather_count; ++m)
    if ((gathers >> m & 1) != 0) {
      if (!names.empty()) names += '|';
      names += gather_name(static_cast<Gather>(m));
    }
  return names;
}

}  // namespace

Result<std::unique_ptr<RunFiles>> RunFiles::create(const std::string& directory,
                                                   const ReplayConfig& config,
                                                   const Cluster& cluster,
                                                   std::span<const ChannelRequest> requests,
                                                   std::span<const std::uint32_t> tiers) {
  auto requests_file = OutputFile::create(directory + "/requests.csv");
  if (!requests_file) return requests_file.error();
  auto transfers_file = OutputFile::create(directory + "/transfers.csv");
  if (!transfers_file) return transfers_file.error();
  requests_file->text(requests_header);
  transfers_file->text(transfers_header);
  return std::unique_ptr<RunFiles>(new RunFiles(directory, config, cluster, requests, tiers,
                                                std::move(*requests_file),
                                                std::move(*transfers_file)));
}

RunFiles::RunFiles(std::string directory, const ReplayConfig& config, const Cluster& cluster,
                   std::span<const ChannelRequest> requests, std::span<const std::uint32_t> tiers,
                   OutputFile requests_file, OutputFile transfers_file)
    : directory_(std::move(directory)),
      config_(config),
      cluster_(cluster),
      channel_requests_(requests),
      tiers_(tiers),
      requests_file_(std::move(requests_file)),
      transfers_file_(std::move(transfers_file)),
      meter_(cluster, requests),
      instances_(cluster, config) {
  // Pairs of unlike places may have other kinds in the same tier; then both are named.
  for (std::size_t i = 0; i < requests.size(); ++i) {
    std::string& kinds = tier_kinds_[std::min<std::uint32_t>(tiers[i], 7)];
    const std::string kind(route_kind_name(requests[i].route.kind));
    if (kinds.find(kind) == std::string::npos) kinds += (kinds.empty() ? "" : "|") + kind;
  }
}

void RunFiles::request_done(const RequestResult& r, const std::vector<TransferRow>& rows) {
  const bool replayed =
      r.outcome == RequestOutcome::completed || r.outcome == RequestOutcome::transfer_failed;
  OutputFile& f = requests_file_;
  f.number(r.request).text(",").number(r.line).text(",").text(request_outcome_name(r.outcome));
  f.text(",").seconds(r.arrival_ns).text(",").number(r.input_tokens).text(",");
  f.number(r.output_tokens).text(",");
  if (replayed) {
    f.number(r.cached_tokens).text(",").number(r.prefill_instance).text(",");
    f.number(r.decode_instance).text(",").ms(r.prefill_start_ns - r.arrival_ns).text(",");
    f.ms(r.prefill_memory_ns).text(",");
    f.ms(r.prefill_end_ns - r.prefill_start_ns).text(",");
  } else {
    f.text(",,,,,,");
  }
  if (r.outcome == RequestOutcome::completed) {
    const Handover& h = r.handover;
    for (const TimeNs part : {h.sum(), h.memory_ns, h.transfer.sum(), h.step_ns, h.seat_ns})
      f.ms(part).text(",");
    for (const TimeNs part : h.transfer.ns) f.ms(part).text(",");
    if (h.last_channel < channel_requests_.size())
      if (const LinkId link = channel_requests_[h.last_channel].route.bottleneck; link != no_id)
        f.text(cluster_.links[link].name);  // a hand-off crosses none
    f.text(",");
    f.ms(ttft_of(r)).text(",").ms(itl_of(r)).text(",").ms(r.finished_ns - r.arrival_ns);
  } else {
    f.text(",,,,,,,,,,,,,,,");
  }
  f.text(",").number(r.bytes).text(",").number(r.retries).text(",");
  if (replayed) f.number(r.slot);
  f.text("\n");

  ++summary_.rows.requests;
  summary_.rows.transfers += rows.size();
  for (const TransferRow& row : rows) {
    OutputFile& t = transfers_file_;
    t.number(row.request).text(",").number(row.prefill_chunk).text(",");
    t.text(tier_kinds_[std::min<std::uint8_t>(row.tier, 7)]).text(",").number(row.tier).text(",");
    t.number(row.transfers).text(",").number(row.bytes).text(",").number(row.chunks).text(",");
    t.number(row.pieces).text(",").text(gather_names(row.gathers)).text(",");
    t.number(row.resent_chunks).text(",");
    t.number(row.resent_bytes).text(",").number(row.failed).text(",").number(row.damaged).text(",");
    t.seconds(row.first_submitted_ns).text(",");
    t.ms(row.last_reported_ns - row.first_submitted_ns).text(",").ms(row.wait_ns).text(",");
    t.ms(row.post_ns).text(",").ms(row.wire_ns).text(",").ms(row.detect_ns);
    t.text(",").number(row.retry).text("\n");
  }
  if (r.outcome != RequestOutcome::completed) return;
  sample_.add(r, rows);
  limit_sample_.add(r);
  summary_.queue_ns.add(r.prefill_start_ns - r.arrival_ns);
  summary_.prefill_memory_ns.add(r.prefill_memory_ns);
  summary_.prefill_ns.add(r.prefill_end_ns - r.prefill_start_ns);
  summary_.handover_ns.add(r.handover.sum());
  summary_.exposed_ns.add(r.handover.transfer.sum());
  summary_.memory_ns.add(r.handover.memory_ns);
  summary_.step_ns.add(r.handover.step_ns);
  summary_.seat_ns.add(r.handover.seat_ns);
  for (std::size_t part = 0; part < path_part_count; ++part)
    summary_.path_ns[part].add(r.handover.transfer.ns[part]);
  summary_.ttft_ns.add(ttft_of(r));
  summary_.e2e_ns.add(r.finished_ns - r.arrival_ns);
  if (r.output_tokens > 1) summary_.itl_ns.add(itl_of(r));
  summary_.input_tokens += r.input_tokens;
  summary_.output_tokens += r.output_tokens;
  instances_.completed(r);
  summary_.duration_ns = std::max(summary_.duration_ns, r.finished_ns);
  const bool attained = ttft_of(r) <= config_.slo_ttft_ns && itl_of(r) <= config_.slo_itl_ns;
  summary_.slo_attained += attained ? 1 : 0;
}

void RunFiles::transfer_done(const TransferEnd& end) {
  ++summary_.transfers;
  ++summary_.transfers_by_outcome[static_cast<std::size_t>(end.outcome)];
  summary_.pieces += end.pieces;
  summary_.packed_transfers += end.gather == Gather::pack ? 1 : 0;
  summary_.fallback_transfers += end.fallback_tier != 0 ? 1 : 0;
  summary_.resent_bytes += end.resent_bytes;
  waiting_.add(end.submitted_ns, end.posted_ns, static_cast<double>(end.bytes));
  posted_.add(end.posted_ns, end.done_ns, static_cast<double>(end.bytes));
  if (end.outcome != TransferOutcome::delivered) return;
  summary_.delivered_bytes += end.bytes;
  summary_.transfer_bytes.add(static_cast<std::int64_t>(end.bytes));
  summary_.transfer_ns.add(end.reported_ns - end.submitted_ns);
  const std::size_t bucket = RunSummary::SizeBucket::of(end.bytes);
  if (bucket >= summary_.sizes.size()) summary_.sizes.resize(bucket + 1);
  summary_.sizes[bucket].bytes += end.bytes;
  summary_.sizes[bucket].time_ns.add(end.reported_ns - end.submitted_ns);
  summary_.wait_ns.add(end.path.wait_ns());
  summary_.post_ns.add(end.path[PathPart::post]);
  summary_.wire_ns.add(end.path[PathPart::wire]);
  summary_.detect_ns.add(end.path[PathPart::detect]);
}

void RunFiles::progress(TimeNs now, std::uint64_t requests_done) {
  requests_done_ = requests_done;
  if (on_progress) on_progress(now, requests_done);
}

Result<RunSummary> RunFiles::finish(RunLabels labels, const ReplayCounters& requests,
                                    const SchedulerCounters& schedulers, const TraceCounts& trace,
                                    std::vector<std::string> trace_notes, bool rates_bind) {
  RunSummary& s = summary_;
  s.labels = std::move(labels);
  s.requests = requests;
  s.scheduler = schedulers;
  s.trace = trace;
  s.trace_notes = std::move(trace_notes);
  s.warnings = memory_warnings(config_, cluster_);
  s.has_slo = config_.slo_ttft_ns != never_ns || config_.slo_itl_ns != never_ns;
  // Failed requests may move bytes after the last one that completed.
  s.duration_ns = std::max(s.duration_ns, meter_.last_landed_ns());
  s.wire_busy_ns = meter_.busy_ns();
  s.landed_chunks = meter_.landed_chunks();
  s.landed_bytes = meter_.landed_bytes();
  std::map<std::pair<std::uint32_t, std::string>, Bytes> routes;
  for (ChannelId c = 0; c < channel_requests_.size(); ++c)
    routes[{tiers_[c], std::string(route_kind_name(channel_requests_[c].route.kind))}] +=
        meter_.channel_bytes(c);
  for (const auto& [key, bytes] : routes)
    if (bytes > 0) s.routes.push_back({key.second, key.first, bytes});
  s.links = meter_.link_use(std::max<TimeNs>(1, s.duration_ns));
  s.link_bin_ns = meter_.bin_ns();
  s.uses = instances_.uses(std::max({TimeNs{1}, s.duration_ns, instances_.last_ns()}));
  s.limits = limit_sample_.limits(s);
  if (auto ok = check_rates(rates_bind); !ok) return ok.error();
  if (auto done = requests_file_.close(); !done) return done.error();
  if (auto done = transfers_file_.close(); !done) return done.error();
  if (auto done = write_links(s); !done) return done.error();
  if (auto done = write_instances(s); !done) return done.error();
  if (auto done =
          write_timeline(directory_ + "/timeline.json", timeline(s), cluster_, channel_requests_);
      !done)
    return done.error();
  return std::move(summary_);
}

/// In real time a copy that began late makes its stretch look short, so only the whole run counts.
Result<void> RunFiles::check_rates(bool rates_bind) const {
  if (!rates_bind) return {};
  const bool whole_run = summary_.labels.time == "real";
  for (const LinkUse& use : summary_.links) {
    const double utilisation = whole_run ? use.utilisation : use.stretch_utilisation;
    if (utilisation > 1.001)
      return Error::failed("accounting error: " + cluster_.links[use.link].name +
                           " would have carried " + number_text(100 * utilisation, 4) +
                           "% of its rate " + (whole_run ? "over the whole run" : "for a stretch"));
  }
  return {};
}

Result<void> RunFiles::write_links(RunSummary& summary) const {
  auto file = OutputFile::create(directory_ + "/links.csv");
  if (!file) return file.error();
  file->text("link,kind,rate_gbytes_per_s,from_s,to_s,bytes,utilisation,saturated_share\n");
  const TimeNs end = std::max<TimeNs>(1, summary.duration_ns);
  for (const LinkUse& use : summary.links) {
    const Link& link = cluster_.links[use.link];
    for (std::size_t b = 0; b < use.bin_bytes.size(); ++b) {
      if (use.bin_bytes[b] == 0) continue;
      const TimeNs from = static_cast<TimeNs>(b) * meter_.bin_ns();
      const TimeNs to = std::max(from + 1, std::min(end, from + meter_.bin_ns()));
      const double utilisation =
          use.bin_bytes[b] / (link.bytes_per_s * static_cast<double>(to - from) * 1e-9);
      ++summary.rows.links;
      file->text(link.name).text(",").text(link_kind_name(link.kind)).text(",");
      file->real(link.bytes_per_s / 1e9).text(",").seconds(from).text(",").seconds(to).text(",");
      const double saturated_ns = b < use.bin_saturated_ns.size() ? use.bin_saturated_ns[b] : 0;
      file->number(static_cast<std::uint64_t>(use.bin_bytes[b] + 0.5)).text(",").real(utilisation);
      file->text(",").real(saturated_ns / static_cast<double>(to - from)).text("\n");
    }
  }
  return file->close();
}

Result<void> RunFiles::write_instances(RunSummary& summary) const {
  auto file = OutputFile::create(directory_ + "/instances.csv");
  if (!file) return file.error();
  file->text("role,instance,node,from_s,to_s,utilisation,batch,kv_fill,queue,tokens_per_s\n");
  const InstanceMeter::Uses& uses = summary.uses;
  for (const InstanceUse& use : uses.instances) {
    for (std::size_t b = 0; b < use.bins.size(); ++b) {
      const InstanceLoad& load = use.bins[b];
      const TimeNs from = static_cast<TimeNs>(b) * uses.bin_ns;
      file->text(instance_role_name(use.role)).text(",").number(use.instance).text(",");
      file->text(use.nodes).text(",").seconds(from).text(",");
      file->seconds(std::min(uses.end_ns, from + uses.bin_ns)).text(",").real(load.utilisation);
      file->text(",");
      if (load.batch > 0) file->real(load.batch);
      file->text(",").real(load.kv_fill).text(",").real(load.queue).text(",");
      file->real(load.tokens_per_s).text("\n");
      ++summary.rows.instances;
    }
  }
  return file->close();
}

/// Chrome's trace event format, as Perfetto reads it: microseconds, one process per kind of track.
Timeline RunFiles::timeline(const RunSummary& summary) const {
  Timeline timeline;
  timeline.every = sample_.every();
  timeline.requests_max = RequestSample::requests_max;
  timeline.slowest_max = RequestSample::slowest_max;
  timeline.requests = sample_.requests();
  timeline.by_prefill_chunk =
      config_.streaming == Streaming::chunk || config_.streaming == Streaming::chunk_layer;
  timeline.tier_kinds.assign(std::begin(tier_kinds_), std::end(tier_kinds_));
  timeline.link_bin_ns = meter_.bin_ns();
  timeline.links = summary.links;
  timeline.waiting = &waiting_;
  timeline.posted = &posted_;
  timeline.chunks = chunks_.chunks();
  timeline.chunk_bin_ns = chunks_.bin_ns();
  timeline.chunks_of_bin = ChunkSample::chunks_of_bin;
  return timeline;
}

}  // namespace kvhaul
