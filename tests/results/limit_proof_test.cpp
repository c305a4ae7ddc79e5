// What a proof makes of a run: who is named, and that nothing else says the opposite.
#include "results/limit_proof.h"

#include <gtest/gtest.h>

#include "results/run_directory.h"

namespace kvhaul {
namespace {

RunDirectory waiting_for_memory() {
  RunDirectory run;
  run.limits = {{"decode_memory", "decode memory", 0.99}};
  run.texts["limit_sentence"] = "Limited by decode memory: 99%";
  return run;
}

LimitProof proof_of(const std::vector<LimitProof::Rerun>& reruns) {
  return {"emulated", false, 100, reruns, 50};
}
const LimitProof::Rerun steps{
    "decode_steps", "decode steps", "10% faster decode steps", "decode_steps", 91, 50};
const LimitProof::Rerun memory{
    "decode_memory", "decode memory", "10% more KV memory of decode", "decode_memory", 95, 50};
const LimitProof::Rerun prefill{
    "prefill", "prefill and its queue", "10% faster prefill", "prefill", 99.9, 50};

TEST(LimitProof, FasterStepsAreNotNamedBesideWhatTheyFree) {
  RunDirectory run = waiting_for_memory();
  apply_limit_proof(proof_of({steps, memory, prefill}), run);
  EXPECT_TRUE(run.text("limit_sentence").starts_with("Limited by decode memory: 10% more KV"))
      << run.text("limit_sentence");
  EXPECT_EQ(run.limits.at(0).limit, "decode_memory");
}

/// "Less than 1%" beside a gain of nine would be wrong.
TEST(LimitProof, FasterStepsAreNamedWhereNothingElseHelps) {
  RunDirectory run = waiting_for_memory();
  apply_limit_proof(proof_of({steps, prefill}), run);
  EXPECT_TRUE(run.text("limit_sentence").starts_with("Limited by decode steps: 10% faster"))
      << run.text("limit_sentence");
  EXPECT_EQ(run.limits.at(0).limit, "decode_steps");
}

/// Compare and sweep read the list, and must not name what the sentence does not.
TEST(LimitProof, WhereNothingHelpsNothingIsFirst) {
  RunDirectory run = waiting_for_memory();
  apply_limit_proof(proof_of({prefill}), run);
  EXPECT_TRUE(run.text("limit_sentence").starts_with("Nothing limits it by itself: "))
      << run.text("limit_sentence");
  EXPECT_TRUE(run.limits.empty());
}

/// The median of those that are left may be shorter because the slow ones were lost.
TEST(LimitProof, WhatLosesRequestsIsNoGain) {
  RunDirectory run = waiting_for_memory();
  LimitProof::Rerun losing = memory;
  losing.completed = 49;
  const LimitProof proof = proof_of({losing, prefill});
  EXPECT_EQ(proof.more_text(losing),
            "10% more KV memory of decode (49 requests completed, not 50)");
  apply_limit_proof(proof, run);
  EXPECT_TRUE(run.text("limit_sentence").starts_with("Nothing limits it by itself: "))
      << run.text("limit_sentence");
  const auto again = parse_limit_proof(limit_proof_json(proof), "why.json");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->more_text(again->reruns.at(0)), proof.more_text(losing));
}

}  // namespace
}  // namespace kvhaul
