// A decoder graph with its cache, perhaps with a second graph for one-token steps: stages the
// inputs of a range of rows and runs them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/decoder.h"
#include "models/kv_cache.h"
#include "tensor/session.h"

namespace irt {

// A run covers rows first .. first + rows - 1 with `chunk` tokens each. Bindings are made once for
// each range of rows and kept. Not thread-safe.
class DecoderGraph {
 public:
  // Throws Error(kBadPack) where the graph breaks the contract or contradicts the configuration.
  DecoderGraph(const std::string& path, const DecoderConfig& config, const SessionOptions& options);

  [[nodiscard]] KvCache& cache() noexcept { return cache_; }

  // One token for each row of a range: `set_token` for every row, `decode`, then run the result.
  void set_token(int row, std::int64_t id, std::int64_t position, std::int64_t past);
  [[nodiscard]] Run& decode(int first, int rows);

  // A chunk of the prompt: `begin_prefill`, then `set_row` and `set_image` for every row. A chunk
  // of one token is padded to two: providers have a path of their own for one query, which rounds
  // otherwise (CPU: M = 1 products), and a prompt must not depend on how it is cut.
  [[nodiscard]] Run& begin_prefill(int first, int rows, int chunk);
  // `ids` and `positions` of the chunk; of positions three streams, `stride` values apart. `past`:
  // tokens of the row in the cache.
  void set_row(int row, const std::int64_t* ids, const std::int64_t* positions, int stride,
               int past);
  // Image tokens `from` .. `from` + `count` - 1 of `features` at index `at` of the row's chunk.
  void set_image(int row, int at, const VisionFeatures& features, int from, int count);

  // Logits of a row, of the last run that covered it; of the last token of its chunk.
  [[nodiscard]] std::span<const float> logits(int row) const;

 private:
  // The memory behind the inputs other than the cache, for up to slots rows of `capacity` tokens:
  // numbers that the host writes before a run, image features where the graph reads them.
  struct Staging {
    Staging(const DecoderConfig& config, int capacity, const DeviceRef& device);
    Tensor ids, positions, past, last;
    Tensor visual, deepstack;
  };
  struct Bound {
    explicit Bound(const Session& session) : run(session) {}
    Run run;
    int chunk = 0;  // what the inputs are bound for
  };
  using Ranges = std::map<std::pair<int, int>, std::unique_ptr<Bound>>;

  void check() const;
  void check_decode() const;
  void check_cache(const Session& session, std::size_t other_inputs) const;
  [[nodiscard]] Bound& bound(const Session& session, Ranges& ranges, int first, int rows);
  [[nodiscard]] Run& decode_fused(int first, int rows);
  [[nodiscard]] ElementType cache_type() const;
  void bind_inputs(Bound& bound, const Staging& staging, int offset, int rows, int chunk);

  DecoderConfig config_;
  Session session_;
  std::optional<Session> decode_session_;  // of config_.decode_graph
  KvCache cache_;
  Staging decode_;
  Staging prefill_;
  std::vector<std::int64_t> token_positions_;  // [slots]
  Tensor fused_positions_;                     // [slots], for the decode graph
  Tensor fused_past_;                          // [slots] of int32, likewise
  Tensor total_length_;  // likewise: of the longest row, the new token included
  Tensor logits_;        // [slots, vocab], on the host
  Ranges decode_ranges_;
  Ranges prefill_ranges_;

  // Of the prefill run that is being staged.
  int first_ = 0;
  int rows_ = 0;
  int chunk_ = 0;   // tokens of a row, padding included
  int tokens_ = 0;  // without
  bool images_staged_ = false;
};

}  // namespace irt
