// Continuous batching of token sequences over one decoder graph (export/README.md: its contract).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/grammar.h"
#include "models/sampler.h"
#include "models/vision.h"
#include "tensor/session.h"

namespace irt {

struct DecoderConfig {
  std::string family = "qwen3_vl";  // models/vlm_family.h
  int layers = 0;
  int hidden = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab = 0;
  int deepstack_levels = 0;
  int slots = 8;           // sequences at once; 1 where the graph is not batch-invariant
  int cache_length = 0;    // tokens of a slot, prompt and answer together
  int prefill_chunk = 64;  // prompt tokens of a row in one step, at most
  int prefill_rows = 0;    // rows whose prompts go through the graph together; 0: all
  int merge_size = 2;      // of the vision encoder, for m-rope positions
  std::int64_t image_token_id = -1;
  std::vector<std::int64_t> eos_token_ids;
  bool reuse_prefix = true;  // off where the graph is not invariant over chunk sizes
  // Path of a graph for one-token steps over the same cache (export/README.md: its contract);
  // empty: the graph of the prompts makes them.
  std::string decode_graph;
  // Tokens of answers that a step may guess and verify, for all its rows together. Only where the
  // graph of the prompts makes them, tells all logits, and is invariant over chunk sizes, one token
  // included: then they change no bit. 0: a step is one token.
  int draft_tokens = 0;
  // Never drawn: control tokens that end nothing (image marks, ...). Logits keep their values.
  std::vector<std::int64_t> forbidden_token_ids;
};

// One prompt: token ids with ONE image token for each image, in order.
struct Prompt {
  std::vector<std::int64_t> ids;
  std::vector<std::shared_ptr<const VisionFeatures>> images;
  SamplingParams sampling;
  int max_new_tokens = 4096;
  int min_new_tokens = 1;                  // the cache must have room for so many
  std::shared_ptr<const Grammar> grammar;  // of the answer; null: any token may follow
};

using SequenceId = std::uint64_t;

// kNonFinite, kGrammar: the sequence has failed (its token is -1); the others are not touched.
// kEarly, kCancelled: its owner wanted no further token.
enum class StopReason {
  kNone,
  kEndOfText,
  kLength,
  kCacheFull,
  kNonFinite,
  kGrammar,
  kEarly,
  kCancelled
};

// One token of one sequence. `logits` stays valid until the next step. A sequence with a stop
// reason takes no further part in steps; it keeps its slot until it is released.
struct TokenOut {
  SequenceId sequence = 0;
  std::int64_t token = 0;  // an end-of-text token is reported as well, with stop = kEndOfText
  int index = 0;           // of the token in the answer, from 0
  std::span<const float> logits;  // as the model gave them, whatever the grammar allowed
  StopReason stop = StopReason::kNone;
  std::string_view problem;  // why the grammar failed (kGrammar); valid until the next step
};

// Not thread-safe, except `terminate`: one object a lane. A sequence occupies a slot from `admit`
// to `release`. Its tokens and logits are those that it would have alone, bit for bit, whatever the
// other slots do, whatever is reused and whatever is guessed, where the graph is batch-invariant:
// rows of a batch do not depend on each other, nor chunks of two tokens or more on their cut.
// (One-token chunks may round otherwise, all the more where a decode graph makes them: they are
// used for answers only, and answers are never reused as a prompt. So every token always goes
// through the same graph.)
class BatchedDecoder {
 public:
  // Throws Error(kBadPack) where the graph does not fit the contract or the configuration.
  BatchedDecoder(const std::string& path, const DecoderConfig& config,
                 const SessionOptions& options);
  ~BatchedDecoder();

  [[nodiscard]] int free_slots() const noexcept;
  [[nodiscard]] int active() const noexcept;  // sequences that a step advances
  // Expands image tokens, computes m-rope positions, reserves a slot and reuses the cached prefix
  // of a live or just released slot with the same ids and images where there is one.
  // Throws Error(kBadRequest) for a malformed prompt, Error(kLimitExceeded) when prompt + 1 token
  // do not fit into the cache, and Error(kOverloaded) when no slot is free.
  [[nodiscard]] SequenceId admit(const Prompt& prompt);
  // Advances all active sequences: by a chunk of the prompt for those that are not through, by one
  // token and the guessed ones that prove right for the others. Appends what was decided to `out`
  // (cleared first), by slot, tokens of a sequence in their order.
  // On an error no sequence advances; Error(kBackendFailed), or kCancelled after `terminate`.
  void step(std::vector<TokenOut>& out);
  // Frees the slot; the sequence may be at any point. Unknown ids are ignored.
  void release(SequenceId sequence) noexcept;
  // From another thread: a step in progress throws Error(kCancelled) soon; later ones do not.
  void terminate() noexcept;

  struct Counters {
    std::uint64_t steps = 0;
    std::uint64_t tokens = 0;         // reported
    std::uint64_t prompt_tokens = 0;  // of admitted prompts, expanded
    std::uint64_t reused_tokens = 0;  // of these, taken from the cache
    std::uint64_t moved_rows = 0;     // to keep the rows that decode together
    std::uint64_t failed_sequences = 0;
    std::uint64_t constrained_tokens = 0;  // reported under a grammar
    std::uint64_t corrected_tokens = 0;    // of these, drawn again
    std::uint64_t drafted_tokens = 0;      // guessed
    std::uint64_t accepted_tokens = 0;     // of these, those that the model drew as well
  };
  [[nodiscard]] Counters counters() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace irt
