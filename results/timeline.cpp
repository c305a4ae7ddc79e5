#include "results/timeline.h"

#include <algorithm>

#include "core/unit_text.h"
#include "traces/output_file.h"

namespace kvhaul {
namespace {

constexpr std::size_t links_shown = 32;  // the most used ones; all are in links.csv

// Groups of tracks: "processes" of the format.
enum Group : std::uint64_t { requests = 1, link_load, queued, on_channels, on_links };

/// Microseconds with all their nanoseconds, however late: a double has no digits left after days.
std::string us_text(TimeNs time) {
  std::string text = std::to_string(time / us_ns);
  if (const TimeNs rest = time % us_ns; rest != 0) {
    text += '.';
    text += static_cast<char>('0' + rest / 100);
    if (rest % 100 != 0) text += static_cast<char>('0' + rest / 10 % 10);
    if (rest % 10 != 0) text += static_cast<char>('0' + rest % 10);
  }
  return text;
}

/// Something that takes time on a track.
struct Slice {
  std::uint64_t group = 0, track = 0;
  std::string name;
  TimeNs from_ns = 0, to_ns = 0;
};

class Writer {
 public:
  Writer(OutputFile& file, const std::string& rule) : file_(file) {
    file_.text("{\"displayTimeUnit\":\"ms\",\"otherData\":{\"rule\":\"").text(rule);
    file_.text("\"},\n\"traceEvents\":[");
  }
  void group(std::uint64_t group, const std::string& name) {
    begin("M", group, 0);
    file_.text(",\"name\":\"process_name\",\"args\":{\"name\":\"").text(name).text("\"}}");
    begin("M", group, 0);
    file_.text(",\"name\":\"process_sort_index\",\"args\":{\"sort_index\":").number(group);
    file_.text("}}");
  }
  void track(std::uint64_t group, std::uint64_t track, const std::string& name) {
    begin("M", group, track);
    file_.text(",\"name\":\"thread_name\",\"args\":{\"name\":\"").text(name).text("\"}}");
    begin("M", group, track);
    file_.text(",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":").number(track);
    file_.text("}}");
  }
  /// `arguments` is the inside of a JSON object.
  void slice(const Slice& slice, const std::string& arguments) {
    begin("X", slice.group, slice.track);
    file_.text(",\"name\":\"").text(slice.name).text("\",\"ts\":").text(us_text(slice.from_ns));
    file_.text(",\"dur\":").text(us_text(slice.to_ns - slice.from_ns)).text(",\"args\":{");
    file_.text(arguments).text("}}");
  }
  /// From inside one slice to the end of another; both must take time.
  void arrow(const Slice& from, TimeNs from_ns, const Slice& to) {
    ++arrows_;
    end_of_arrow("s", "", from, std::clamp(from_ns, from.from_ns, from.to_ns - 1));
    end_of_arrow("f", ",\"bp\":\"e\"", to, to.to_ns - 1);
  }
  void counter(std::uint64_t group, const std::string& name, const char* unit, TimeNs at_ns,
               double value) {
    begin("C", group, 0);
    file_.text(",\"name\":\"").text(name).text("\",\"ts\":").text(us_text(at_ns));
    file_.text(",\"args\":{\"").text(unit).text("\":").real(value).text("}}");
  }
  Result<void> close() {
    file_.text("\n]}\n");
    return file_.close();
  }

 private:
  void begin(const char* phase, std::uint64_t group, std::uint64_t track) {
    file_.text(first_ ? "\n" : ",\n").text("{\"ph\":\"").text(phase).text("\",\"pid\":");
    file_.number(group).text(",\"tid\":").number(track);
    first_ = false;
  }
  void end_of_arrow(const char* phase, const char* binding, const Slice& slice, TimeNs at_ns) {
    begin(phase, slice.group, slice.track);
    file_.text(",\"cat\":\"kv\",\"name\":\"KV\",\"id\":").number(arrows_).text(binding);
    file_.text(",\"ts\":").text(us_text(at_ns)).text("}");
  }

  OutputFile& file_;
  bool first_ = true;
  std::uint64_t arrows_ = 0;
};

std::string rule_text(const Timeline& timeline) {
  const std::string every = std::to_string(timeline.every);
  return (timeline.every == 1 ? "every completed request"
                              : "every " + every + "th completed request") +
         std::string(", at most ") + std::to_string(timeline.requests_max) + " of them, and the " +
         std::to_string(timeline.slowest_max) +
         " with the longest time to first token; link load as the mean of bins of " +
         us_text(timeline.link_bin_ns) + " us; queued bytes as the mean of bins of " +
         us_text(timeline.waiting->bin_ns()) + " us; the first " +
         std::to_string(timeline.chunks_of_bin) + " chunks that landed in each " +
         us_text(timeline.chunk_bin_ns) + " us; of links the " + std::to_string(links_shown) +
         " most used";
}

/// A request's own track, and one on which its KV lands.
void write_request(Writer& writer, const Timeline& timeline, const TimelineRequest& request) {
  const RequestResult& r = request.result;
  const std::uint64_t track = 2 * r.request + 1;
  writer.track(requests, track, "request " + std::to_string(r.request));
  const auto part = [&](const char* name, TimeNs from, TimeNs to, const std::string& arguments) {
    writer.slice({requests, track, name, from, to}, arguments);
  };
  part("queue", r.arrival_ns, r.prefill_start_ns, "");
  // Perfetto searches slices and their texts, not the names of tracks.
  part("prefill", r.prefill_start_ns, r.prefill_end_ns,
       "\"request\":\"request " + std::to_string(r.request) +
           "\",\"input_tokens\":" + std::to_string(r.input_tokens) +
           ",\"cached_tokens\":" + std::to_string(r.cached_tokens));
  std::vector<Slice> chunks;
  for (std::size_t c = 0; c < request.chunk_ended_ns.size(); ++c) {
    const TimeNs from = c == 0 ? r.prefill_start_ns : request.chunk_ended_ns[c - 1];
    chunks.push_back({requests, track, std::string("prefill chunk ").append(std::to_string(c)),
                      from, request.chunk_ended_ns[c]});
    // What was cached is there at once.
    if (request.chunk_ended_ns[c] > from) writer.slice(chunks.back(), "");
  }
  // In this order they follow each other.
  const Handover& h = r.handover;
  part("decode memory", r.prefill_end_ns, r.prefill_end_ns + h.memory_ns, "");
  part("exposed transfer", r.prefill_end_ns + h.memory_ns, r.landed_ns, "");
  part("decode step", r.landed_ns, r.landed_ns + h.step_ns, "");
  part("decode seat", r.landed_ns + h.step_ns, r.joined_ns, "");
  part("decode", r.joined_ns, r.finished_ns,
       "\"output_tokens\":" + std::to_string(r.output_tokens));

  if (request.rows.empty()) return;
  writer.track(requests, track + 1, "request " + std::to_string(r.request) + ": KV");
  std::vector<TransferRow> rows = request.rows;
  std::stable_sort(rows.begin(), rows.end(), [](const TransferRow& a, const TransferRow& b) {
    return a.last_reported_ns < b.last_reported_ns;
  });
  TimeNs landed = 0;
  for (const TransferRow& row : rows) {
    // One behind the other: while several are under way, the one that lands next is shown.
    const Slice kv{requests, track + 1,
                   std::string("KV of chunk ").append(std::to_string(row.prefill_chunk)),
                   std::max(landed, row.first_submitted_ns), row.last_reported_ns};
    landed = std::max(landed, row.last_reported_ns);
    if (kv.to_ns <= kv.from_ns) continue;
    writer.slice(
        kv,
        "\"route\":\"" +
            timeline.tier_kinds[std::min<std::size_t>(row.tier, timeline.tier_kinds.size() - 1)] +
            "\",\"bytes\":" + std::to_string(row.bytes) + ",\"chunks\":" +
            std::to_string(row.chunks) + ",\"submitted_us\":" + us_text(row.first_submitted_ns));
    std::size_t of = timeline.by_prefill_chunk ? row.prefill_chunk : chunks.size() - 1;
    if (of >= chunks.size()) continue;
    // KV that was cached leaves while the first chunk behind it is computed.
    while (of + 1 < chunks.size() && chunks[of].to_ns <= chunks[of].from_ns) ++of;
    if (chunks[of].to_ns > chunks[of].from_ns) writer.arrow(chunks[of], row.first_submitted_ns, kv);
  }
}

/// Chunks that are on the way at the same time stand under each other.
class Lanes {
 public:
  /// The first lane that is free then; it is taken until the end.
  std::size_t take(TimeNs from, TimeNs to) {
    std::size_t lane = 0;
    while (lane < free_at_.size() && free_at_[lane] > from) ++lane;
    if (lane == free_at_.size()) free_at_.push_back(0);
    free_at_[lane] = std::max(to, from);
    return lane;
  }

 private:
  std::vector<TimeNs> free_at_;
};

struct ShownChunk {
  std::string track;
  const Completion* chunk = nullptr;
};

/// One track per name, or as many as are needed for what overlaps on it. Chunks in order of start.
void write_chunks(Writer& writer, Group group, const std::vector<ShownChunk>& chunks,
                  std::span<const std::string> names, const Cluster& cluster,
                  std::span<const ChannelRequest> channels) {
  std::uint64_t track = 0;
  for (const std::string& name : names) {
    Lanes lanes;
    std::uint64_t named = 0;
    for (const ShownChunk& shown : chunks) {
      if (shown.track != name) continue;
      const Completion& chunk = *shown.chunk;
      const std::uint64_t lane = lanes.take(chunk.started_ns, chunk.done_ns);
      for (; named <= lane; ++named) writer.track(group, track + named, name);
      const Route& route = channels[chunk.channel].route;
      writer.slice({group, track + lane, bytes_text(chunk.bytes), chunk.started_ns, chunk.done_ns},
                   "\"channel\":" + std::to_string(chunk.channel) + ",\"from\":\"" +
                       cluster.places[route.source].name + "\",\"to\":\"" +
                       cluster.places[route.target].name + "\",\"bytes\":" +
                       std::to_string(chunk.bytes) + ",\"posted_us\":" + us_text(chunk.posted_ns));
    }
    track += named;
  }
}

}  // namespace

Result<void> write_timeline(const std::string& path, const Timeline& timeline,
                            const Cluster& cluster, std::span<const ChannelRequest> channels) {
  auto file = OutputFile::create(path);
  if (!file) return file.error();
  Writer writer(*file, rule_text(timeline));
  writer.group(requests, "requests");
  writer.group(link_load, "link load");
  writer.group(queued, "queued KV");
  writer.group(on_channels, "chunks on channels");
  writer.group(on_links, "chunks on links");

  for (const TimelineRequest& request : timeline.requests) write_request(writer, timeline, request);

  std::vector<std::string> link_names;
  std::vector<bool> shown(cluster.links.size());
  for (const LinkUse& use : timeline.links.first(std::min(links_shown, timeline.links.size()))) {
    const std::string& name = cluster.links[use.link].name;
    for (std::size_t b = 0; b < use.bin_bytes.size(); ++b)
      writer.counter(link_load, name, "GB/s", static_cast<TimeNs>(b) * timeline.link_bin_ns,
                     use.bin_bytes[b] / static_cast<double>(timeline.link_bin_ns));
    link_names.push_back(name);
    shown[use.link] = true;
  }
  for (const auto& [name, meter] :
       {std::pair{"waiting in the scheduler", timeline.waiting}, {"on channels", timeline.posted}})
    for (std::size_t b = 0; b <= meter->bins(); ++b)
      writer.counter(queued, name, "bytes", static_cast<TimeNs>(b) * meter->bin_ns(),
                     meter->mean(b));

  std::vector<Completion> chunks = timeline.chunks;
  std::stable_sort(chunks.begin(), chunks.end(), [](const Completion& a, const Completion& b) {
    return a.started_ns < b.started_ns;
  });
  std::vector<ShownChunk> by_channel, by_link;
  std::vector<ChannelId> used;
  for (const Completion& chunk : chunks) used.push_back(chunk.channel);
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  const auto channel_name = [&](ChannelId channel) {
    return "channel " + std::to_string(channel) + ": " + channels[channel].route.name;
  };
  std::vector<std::string> channel_names;
  for (const ChannelId channel : used) channel_names.push_back(channel_name(channel));
  for (const Completion& chunk : chunks) {
    by_channel.push_back({channel_name(chunk.channel), &chunk});
    const std::vector<LinkId>& hops = channels[chunk.channel].route.hops;
    for (std::size_t h = 0; h < hops.size(); ++h)
      // A link that is crossed twice shows it once.
      if (shown[hops[h]] && std::find(hops.begin(), hops.begin() + static_cast<long>(h), hops[h]) ==
                                hops.begin() + static_cast<long>(h))
        by_link.push_back({cluster.links[hops[h]].name, &chunk});
  }
  write_chunks(writer, on_channels, by_channel, channel_names, cluster, channels);
  write_chunks(writer, on_links, by_link, link_names, cluster, channels);
  return writer.close();
}

}  // namespace kvhaul
