// A decoder graph with its cache, perhaps with a second graph for one-token steps: stages the
// inputs of a range of rows and runs them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "models/decoder.h"
#include "models/kv_cache.h"
#include "tensor/session.h"

namespace irt {

// A run covers rows first .. first + rows - 1 with `chunk` tokens each. Bindings are made once for
// each range of rows and length of the cache, and kept. Not thread-safe.
class DecoderGraph {
 public:
  // Throws Error(kBadPack) where the graph breaks the contract or contradicts the configuration.
  DecoderGraph(const std::string& path, const DecoderConfig& config, const SessionOptions& options);

  // Tokens of a prompt that a run computes for so many: see begin_prefill.
  [[nodiscard]] static constexpr int padded(int tokens) noexcept { return tokens + tokens % 2; }

  [[nodiscard]] KvCache& cache() noexcept { return cache_; }
  // Makes the cache as long as `tokens` ask for, and hardly longer: attention costs its length.
  // `used` as in KvCache::lay_out.
  void fit(int tokens, std::span<const int> used);
  // Tokens of answers in one run that its rows share among them, beyond one for each: 0 where a
  // graph tells the logits of one token only.
  [[nodiscard]] int draft_tokens() const noexcept { return draft_tokens_; }

  // First one of these two, then `set_row` for every row; then the result is run.
  // Tokens of answers, with the logits of each: chunk - 1 <= draft_tokens() / rows.
  [[nodiscard]] Run& begin_answers(int first, int rows, int chunk);
  // A chunk of prompts, with the logits of its last token. It is padded to an even number of
  // tokens: providers have a path of their own for a row that is alone in a tile of a product,
  // which rounds otherwise (CPU: one row, or the last one of 129), and a prompt must not depend on
  // how it is cut.
  [[nodiscard]] Run& begin_prefill(int first, int rows, int chunk);
  // `count` ids and positions, at most `chunk`; of positions three streams, `stride` values apart.
  // `past`: tokens of the row in the cache.
  void set_row(int row, const std::int64_t* ids, const std::int64_t* positions, int stride,
               int count, int past);
  // Of prompts: image tokens `from` .. `from` + `count` - 1 of `features` at index `at` of the
  // row's chunk.
  void set_image(int row, int at, const VisionFeatures& features, int from, int count);

  // Logits of a row, of the last run that covered it: of token `index` of an answer's chunk.
  [[nodiscard]] std::span<const float> logits(int row, int index = 0) const;

 private:
  // The memory behind the inputs other than the cache, and the logits: numbers that the host
  // writes before a run, image features where the graph reads them.
  struct Staging {
    // `tokens`: of all rows; `told`: how many of these tell their logits.
    Staging(const DecoderConfig& config, int tokens, int told, const DeviceRef& device);
    Tensor ids, positions, past, last;
    Tensor visual, deepstack;
    Tensor logits;  // on the host
  };
  struct Bound {
    explicit Bound(const Session& session) : run(session) {}
    Run run;
    int chunk = 0;  // what the inputs are bound for
  };
  using Ranges =
      std::map<std::tuple<int, int, int>, std::unique_ptr<Bound>>;  // first, rows, length

  void check() const;
  void check_decode() const;
  void check_cache(const Session& session, std::size_t other_inputs) const;
  [[nodiscard]] bool tells_all_logits() const;
  [[nodiscard]] bool fixed_length() const;
  [[nodiscard]] Bound& bound(const Session& session, Ranges& ranges, int first, int rows);
  [[nodiscard]] Run& begin_fused(int first, int rows);
  // `told`: tokens of each row whose logits are wanted, put behind `skipped` others.
  void bind(Bound& bound, const Staging& staging, int rows, int told, int skipped);
  [[nodiscard]] CacheShape cache_shape() const;
  [[nodiscard]] ElementType cache_type() const;

  DecoderConfig config_;
  Session session_;
  std::optional<Session> decode_session_;  // of config_.decode_graph
  int draft_tokens_;
  bool fixed_length_ = true;
  KvCache cache_;
  Staging answers_;
  Staging prefill_;
  Tensor fused_past_;    // [slots] of int32, for the decode graph
  Tensor total_length_;  // likewise: of the longest row, the new token included
  Ranges answer_ranges_;
  Ranges prefill_ranges_;
  std::vector<const float*> logits_of_;  // of each row, in the last run that covered it

  // Of the run that is being staged.
  Staging* staging_ = nullptr;
  int first_ = 0;
  int rows_ = 0;
  int chunk_ = 0;         // tokens of a row, padding included
  int image_tokens_ = 0;  // the first ones of prefill_ that may hold features of images
};

}  // namespace irt
