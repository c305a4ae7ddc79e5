#include "results/limit_proof.h"

#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "core/unit_text.h"
#include "results/limits.h"
#include "results/run_directory.h"

namespace kvhaul {
namespace {

using Json = nlohmann::ordered_json;
using Rerun = LimitProof::Rerun;

constexpr int known_schema = 1;
constexpr double shown_gain_min = 1e-4;

std::string gain_percent(double share) { return number_text(100 * share, 2) + "%"; }

/// Faster decode steps free seats and memory sooner: they are a limit of their own only where
/// requests wait for a step to end.
bool names_a_limit(const Rerun& rerun, const RunDirectory& run) {
  if (rerun.limit != limit_name(Limit::decode_steps)) return true;
  return std::ranges::any_of(run.limits, [&](const RunDirectory::Limit& limit) {
    return limit.limit == rerun.limit && limit.share >= limit_share_min;
  });
}

/// The link that carried its rate for longest; of one kind where that is named: "nic links".
const RunDirectory::Link* tightest_link(const RunDirectory& run, const std::string& kind = "") {
  const RunDirectory::Link* tightest = nullptr;
  for (const RunDirectory::Link& link : run.links)
    if ((kind.empty() || link.kind + " links" == kind) &&
        (tightest == nullptr || std::pair(link.saturated_share, link.utilisation) >
                                    std::pair(tightest->saturated_share, tightest->utilisation)))
      tightest = &link;
  return tightest;
}

bool is_link(const Rerun& rerun) { return rerun.limit == limit_name(Limit::link); }

std::string label_of(const Rerun& rerun, const RunDirectory& run) {
  const RunDirectory::Link* link = is_link(rerun) ? tightest_link(run, rerun.label) : nullptr;
  return link == nullptr ? rerun.label : link->name;
}

std::string sentence_of(const LimitProof& proof, const std::vector<const Rerun*>& named,
                        const RunDirectory& run) {
  std::string out;
  if (named.empty()) {
    out =
        "Nothing limits it by itself: a tenth more of any one thing makes the median time to "
        "first token less than 1% shorter";
  } else {
    out = "Limited by " + label_of(*named[0], run) + ": " + named[0]->more +
          ", and the median time to first token is " + gain_percent(proof.gain(*named[0])) +
          " shorter";
    for (std::size_t i = 1; i < named.size(); ++i)
      out += (i == 1 ? "; then " : ", ") + label_of(*named[i], run) + " (" + named[i]->more + ": " +
             gain_percent(proof.gain(*named[i])) + ")";
  }
  const RunDirectory::Link* link = tightest_link(run);
  for (const Rerun& rerun : proof.reruns) {
    const bool is_named = std::ranges::find(named, &rerun) != named.end();
    if (link == nullptr || rerun.label != link->kind + " links" || is_named) continue;
    const double gain = proof.gain(rerun);
    out += "; " + rerun.more + ": " +
           (std::abs(gain) < shown_gain_min
                ? "no difference"
                : gain_percent(std::abs(gain)) + (gain > 0 ? " shorter" : " longer"));
  }
  // What the run says of its transfers stays true.
  const std::string& said = run.text("limit_sentence");
  if (const std::size_t at = said.find("; exposed transfer"); at != std::string::npos)
    out += said.substr(at);
  return out;
}

}  // namespace

std::string LimitProof::more_text(const Rerun& rerun) const {
  if (rerun.completed == completed) return rerun.more;
  return rerun.more + " (" + std::to_string(rerun.completed) + " requests completed, not " +
         std::to_string(completed) + ")";
}

std::string LimitProof::gain_text(const Rerun& rerun) const {
  return std::abs(gain(rerun)) < shown_gain_min ? "0%" : gain_percent(gain(rerun));
}

std::string limit_proof_json(const LimitProof& proof) {
  Json json = {{"schema", known_schema},
               {"backend", proof.backend},
               {"run_was_real", proof.run_was_real},
               {"ttft_p50_ms", proof.ttft_p50_ms},
               {"completed", proof.completed},
               {"reruns", Json::array()}};
  for (const Rerun& rerun : proof.reruns)
    json["reruns"].push_back({{"key", rerun.key},
                              {"label", rerun.label},
                              {"more", rerun.more},
                              {"limit", rerun.limit},
                              {"ttft_p50_ms", rerun.ttft_p50_ms},
                              {"completed", rerun.completed},
                              {"gain", proof.gain(rerun)}});
  return json.dump(2) + "\n";
}

Result<LimitProof> parse_limit_proof(const std::string& text, const std::string& file) {
  const auto damaged = [&](const std::string& expected) {
    return Error::bad_input(file + ": expected " + expected +
                            "; 'kvhaul report --why' writes it anew");
  };
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return damaged("a JSON object, it is damaged");
  const auto number = [](const Json& in, const char* key) {
    return in.contains(key) && in[key].is_number() ? in[key].get<double>() : NAN;
  };
  const auto word = [](const Json& in, const char* key) {
    return in.contains(key) && in[key].is_string() ? in[key].get<std::string>() : std::string();
  };
  if (number(json, "schema") != known_schema)
    return damaged("schema " + std::to_string(known_schema) + ", found another");
  LimitProof proof;
  proof.backend = word(json, "backend");
  proof.run_was_real = json.contains("run_was_real") && json["run_was_real"] == true;
  proof.ttft_p50_ms = number(json, "ttft_p50_ms");
  const auto count = [](const Json& in) {
    return in.contains("completed") && in["completed"].is_number_unsigned()
               ? in["completed"].get<std::uint64_t>()
               : 0;
  };
  proof.completed = count(json);
  if (proof.backend.empty() || !(proof.ttft_p50_ms > 0) || proof.completed == 0 ||
      !json.contains("reruns") || !json["reruns"].is_array())
    return damaged("'backend', 'ttft_p50_ms', 'completed' and a list 'reruns'");
  for (const Json& item : json["reruns"]) {
    if (!item.is_object()) return damaged("objects in 'reruns'");
    const Rerun rerun{word(item, "key"),   word(item, "label"),         word(item, "more"),
                      word(item, "limit"), number(item, "ttft_p50_ms"), count(item)};
    if (rerun.key.empty() || rerun.label.empty() || rerun.more.empty() || rerun.limit.empty() ||
        !(rerun.ttft_p50_ms > 0) || rerun.completed == 0)
      return damaged(
          "'key', 'label', 'more', 'limit', 'ttft_p50_ms' and 'completed' in every item of "
          "'reruns'");
    proof.reruns.push_back(rerun);
  }
  return proof;
}

void apply_limit_proof(const LimitProof& proof, RunDirectory& run) {
  constexpr std::size_t named_max = 3;
  std::vector<const Rerun*> named;
  const Rerun* unnamed = nullptr;
  for (const Rerun& rerun : proof.reruns) {
    if (named.size() == named_max || proof.gain(rerun) < proven_gain_min) continue;
    if (rerun.completed < proof.completed) continue;  // the slow ones may be those that were lost
    if (names_a_limit(rerun, run))
      named.push_back(&rerun);
    else if (unnamed == nullptr)
      unnamed = &rerun;
  }
  if (named.empty() && unnamed != nullptr) named.push_back(unnamed);
  run.texts["limit_sentence"] = sentence_of(proof, named, run);
  run.summary["limit_sentence"] = run.texts["limit_sentence"];
  if (named.empty()) {
    run.limits.clear();
    return;
  }
  const RunDirectory::Limit first{named[0]->limit, label_of(*named[0], run), 0};
  const auto found = std::ranges::find(run.limits, first.limit, &RunDirectory::Limit::limit);
  if (found == run.limits.end()) {
    run.limits.insert(run.limits.begin(), first);
  } else {
    found->label = first.label;
    std::rotate(run.limits.begin(), found, found + 1);
  }
}

}  // namespace kvhaul
