#include "models/decoder_graph.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/error.h"

namespace irt {
namespace {

// Lengths of the cache are multiples of this, so that sums over it are cut at the same places
// whatever its length.
constexpr int kLengthStep = 128;
constexpr int kLengthSteps = 8;  // at least so many from one power of two to the next one

[[nodiscard]] std::string name_of(const char* stem, int layer) {
  return std::string(stem) + "." + std::to_string(layer);
}

[[nodiscard]] DecoderConfig checked(const DecoderConfig& config) {
  const bool good = config.layers > 0 && config.hidden > 0 && config.kv_heads > 0 &&
                    config.head_dim > 0 && config.vocab > 0 && config.deepstack_levels >= 0 &&
                    config.slots > 0 && config.cache_length > 1 && config.prefill_chunk > 0 &&
                    config.merge_size > 0;
  if (good) return config;
  throw Error(ErrorCode::kBadPack,
              "[DecoderGraph] every size of the decoder's configuration must be positive: see "
              "the manifest's decoder section");
}

}  // namespace

DecoderGraph::Staging::Staging(const DecoderConfig& config, int tokens, int told,
                               const DeviceRef& device)
    : ids(ElementType::kInt64, {tokens}),
      positions(ElementType::kInt64, {3, tokens}),
      past(ElementType::kInt64, {config.slots}),
      last(ElementType::kInt64, {told}),
      visual(ElementType::kFloat32, {tokens, config.hidden}, device),
      deepstack(ElementType::kFloat32,
                {std::max(1, config.deepstack_levels), tokens, config.hidden}, device),
      logits(ElementType::kFloat32, {told, config.vocab}) {
  for (const Tensor* tensor : {&ids, &positions, &past, &last, &visual, &deepstack}) tensor->zero();
}

DecoderGraph::DecoderGraph(const std::string& path, const DecoderConfig& config,
                           const SessionOptions& options)
    : config_(checked(config)),
      session_(path, options),
      draft_tokens_(config.decode_graph.empty() && tells_all_logits() ? config.draft_tokens : 0),
      cache_(cache_shape(), cache_type(), session_.device()),
      answers_(config, config.slots + draft_tokens_, config.slots + draft_tokens_,
               session_.device()),
      prefill_(config, config.slots * padded(std::min(config.prefill_chunk, config.cache_length)),
               config.slots, session_.device()),
      logits_of_(size(config.slots)) {
  if (!config_.decode_graph.empty()) {
    decode_session_.emplace(config_.decode_graph, options);
    check_decode();
    fused_past_ = Tensor(ElementType::kInt32, {config_.slots});
    total_length_ = Tensor(ElementType::kInt32, {});
  }
  fixed_length_ = fixed_length();
  // ONNX Runtime plans memory for the first shape that it sees: let it be the commonest, one row
  // and one token (about 10 % of such a step). A graph that cannot run shows here as well.
  fit(padded(1), std::vector<int>(size(config_.slots)));
  const std::int64_t nothing[] = {0, 0, 0};
  const auto one_token = [&](Run& run) {
    set_row(0, nothing, nothing, 1, 1, 0);
    run.run();
  };
  if (decode_session_) one_token(begin_prefill(0, 1, 1));
  one_token(begin_answers(0, 1, 1));
  cache_.clear(0, 0, padded(1));
}

// The graph is asked before anything is allocated by what its configuration says.
CacheShape DecoderGraph::cache_shape() const {
  check();
  return {config_.layers, config_.slots, config_.kv_heads, config_.cache_length, config_.head_dim};
}

// The graph says in which precision it caches.
ElementType DecoderGraph::cache_type() const {
  const TensorInfo* keys = session_.input(name_of("past_k", 0));
  if (keys != nullptr && keys->type == ElementType::kFloat16) return ElementType::kFloat16;
  return ElementType::kFloat32;
}

void DecoderGraph::check() const {
  const std::int64_t hidden = config_.hidden;
  session_.require_input("input_ids", ElementType::kInt64, {kAny, kAny});
  session_.require_input("position_ids", ElementType::kInt64, {3, kAny, kAny});
  session_.require_input("past_len", ElementType::kInt64, {kAny});
  const bool all = tells_all_logits();
  session_.require_input("last_index", ElementType::kInt64, all ? Shape{kAny, kAny} : Shape{kAny});
  session_.require_input("visual_embeds", ElementType::kFloat32, {kAny, kAny, hidden});
  session_.require_input("deepstack", ElementType::kFloat32,
                         {config_.deepstack_levels, kAny, kAny, hidden});
  session_.require_output("logits", ElementType::kFloat32,
                          all ? Shape{kAny, kAny, config_.vocab} : Shape{kAny, config_.vocab});
  check_cache(session_, 6);
}

void DecoderGraph::check_decode() const {
  const Session& session = *decode_session_;
  session.require_input("input_ids", ElementType::kInt64, {kAny, 1});
  session.require_input("position_ids", ElementType::kInt64, {kAny, 1});
  session.require_input("past_len", ElementType::kInt32, {kAny});
  session.require_input("total_length", ElementType::kInt32, {});
  session.require_output("logits", ElementType::kFloat32, {kAny, 1, config_.vocab});
  check_cache(session, 4);
}

void DecoderGraph::check_cache(const Session& session, std::size_t other_inputs) const {
  const ElementType type = cache_type();
  const Shape arena{kAny, config_.kv_heads, config_.cache_length, config_.head_dim};
  for (int layer = 0; layer < config_.layers; ++layer) {
    for (const std::string kind : {"k", "v"}) {
      session.require_input(name_of(("past_" + kind).c_str(), layer), type, arena);
      session.require_output(name_of(("present_" + kind).c_str(), layer), type, arena);
    }
  }
  const std::size_t expected = other_inputs + 2 * size(config_.layers);
  if (session.inputs().size() == expected) return;
  throw Error(ErrorCode::kBadPack, "[DecoderGraph] " + session.path() + ": the graph has " +
                                       std::to_string(session.inputs().size()) +
                                       " inputs, the contract " + std::to_string(expected) +
                                       ": does the manifest's layer count fit the graph?");
}

bool DecoderGraph::tells_all_logits() const {
  const TensorInfo* last = session_.input("last_index");
  return last != nullptr && last->shape.size() == 2;
}

// A device moves whole rows only, and a graph may be made for one length.
bool DecoderGraph::fixed_length() const {
  const auto open = [](const Session& session) {
    return session.input(name_of("past_k", 0))->shape[2] < 0;
  };
  return !session_.device()->is_host() || !open(session_) ||
         (decode_session_ && !open(*decode_session_));
}

void DecoderGraph::fit(int tokens, std::span<const int> used) {
  if (fixed_length_) return;
  const auto power = static_cast<int>(std::bit_ceil(static_cast<unsigned>(tokens)));
  const int step = std::max(kLengthStep, power / kLengthSteps);
  const int length = std::min(config_.cache_length, (tokens + step - 1) / step * step);
  if (length != cache_.length()) cache_.lay_out(length, used);
}

DecoderGraph::Bound& DecoderGraph::bound(const Session& session, Ranges& ranges, int first,
                                         int rows) {
  const auto key = std::make_tuple(first, rows, cache_.length());
  if (const auto found = ranges.find(key); found != ranges.end()) return *found->second;
  if (ranges.size() >= 8 * size(config_.slots)) ranges.clear();
  auto made = std::make_unique<Bound>(session);
  for (int layer = 0; layer < config_.layers; ++layer) {
    // One tensor as past and present: the graph updates the cache in place.
    const Tensor keys = cache_.keys(layer, first, rows);
    const Tensor values = cache_.values(layer, first, rows);
    made->run.bind_input(name_of("past_k", layer), keys);
    made->run.bind_input(name_of("past_v", layer), values);
    made->run.bind_output(name_of("present_k", layer), keys);
    made->run.bind_output(name_of("present_v", layer), values);
  }
  return *ranges.emplace(key, std::move(made)).first->second;
}

void DecoderGraph::bind(Bound& bound, const Staging& staging, int rows, int told, int skipped) {
  if (bound.chunk == chunk_) return;
  bound.chunk = 0;
  Run& run = bound.run;
  const std::int64_t hidden = config_.hidden;
  run.bind_input("input_ids", staging.ids.view(0, {rows, chunk_}));
  run.bind_input("position_ids", staging.positions.view(0, {3, rows, chunk_}));
  run.bind_input("past_len", staging.past.view(0, {rows}));
  run.bind_input("visual_embeds", staging.visual.view(0, {rows, chunk_, hidden}));
  run.bind_input("deepstack",
                 staging.deepstack.view(0, {config_.deepstack_levels, rows, chunk_, hidden}));
  const bool all = tells_all_logits();
  run.bind_input("last_index", staging.last.view(0, all ? Shape{rows, told} : Shape{rows}));
  run.bind_output("logits", staging.logits.view(size(skipped) * size(config_.vocab),
                                                all ? Shape{rows, told, config_.vocab}
                                                    : Shape{rows, config_.vocab}));
  bound.chunk = chunk_;
}

Run& DecoderGraph::begin_answers(int first, int rows, int chunk) {
  staging_ = &answers_;
  first_ = first;
  rows_ = rows;
  chunk_ = chunk;
  if (decode_session_) return begin_fused(first, rows);
  Bound& range = bound(session_, answer_ranges_, first, rows);
  bind(range, answers_, rows, chunk, 0);
  return range.run;
}

Run& DecoderGraph::begin_fused(int first, int rows) {
  total_length_.as<std::int32_t>()[0] = 0;
  Bound& range = bound(*decode_session_, answer_ranges_, first, rows);
  if (range.chunk == 1) return range.run;
  Run& run = range.run;
  run.bind_input("input_ids", answers_.ids.view(0, {rows, 1}));
  run.bind_input("position_ids", answers_.positions.view(0, {rows, 1}));
  run.bind_input("past_len", fused_past_.view(0, {rows}));
  run.bind_input("total_length", total_length_);
  run.bind_output("logits", answers_.logits.view(0, {rows, 1, config_.vocab}));
  range.chunk = 1;
  return run;
}

Run& DecoderGraph::begin_prefill(int first, int rows, int chunk) {
  if (image_tokens_ > 0) {
    // Text reads zeros; only the region of the last run can hold anything else.
    prefill_.visual.view(0, {image_tokens_, config_.hidden}).zero();
    prefill_.deepstack.view(0, {config_.deepstack_levels, image_tokens_, config_.hidden}).zero();
    image_tokens_ = 0;
  }
  staging_ = &prefill_;
  first_ = first;
  rows_ = rows;
  chunk_ = padded(chunk);
  Bound& range = bound(session_, prefill_ranges_, first, rows);
  bind(range, prefill_, rows, 1, first);
  return range.run;
}

void DecoderGraph::set_row(int row, const std::int64_t* ids, const std::int64_t* positions,
                           int stride, int count, int past) {
  const bool prompt = staging_ == &prefill_;
  const std::size_t index = size(row - first_);
  const auto at = static_cast<std::ptrdiff_t>(index * size(chunk_));
  const auto rows = static_cast<std::ptrdiff_t>(size(rows_) * size(chunk_));
  // Padding repeats the last token: what it writes lies behind the row's length.
  const auto fill = [&](const std::int64_t* from, const Tensor& to, std::ptrdiff_t first) {
    const auto end = std::copy_n(from, count, to.as<std::int64_t>().begin() + first);
    std::fill_n(end, chunk_ - count, from[count - 1]);
  };
  fill(ids, staging_->ids, at);
  for (int axis = 0; axis < 3; ++axis) {
    fill(positions + axis * stride, staging_->positions, at + axis * rows);
  }
  staging_->past.as<std::int64_t>()[index] = past;
  const std::span last = staging_->last.as<std::int64_t>();
  if (prompt) {
    last[index] = count - 1;
  } else {
    std::iota(last.begin() + at, last.begin() + at + chunk_, 0);
  }
  const std::size_t logits = prompt ? size(row) : index * size(chunk_);
  logits_of_[size(row)] = staging_->logits.as<float>().data() + logits * size(config_.vocab);
  if (prompt || !decode_session_) return;
  fused_past_.as<std::int32_t>()[index] = past;
  std::int32_t& total = total_length_.as<std::int32_t>()[0];
  total = std::max(total, past + 1);
}

void DecoderGraph::set_image(int row, int at, const VisionFeatures& features, int from, int count) {
  image_tokens_ = rows_ * chunk_;
  const std::size_t hidden = size(config_.hidden);
  const std::size_t token = size(row - first_) * size(chunk_) + size(at);
  const Shape part{count, config_.hidden};
  prefill_.visual.view(token * hidden, part)
      .copy_from(features.embeds.view(size(from) * hidden, part));
  for (std::size_t level = 0; level < size(config_.deepstack_levels); ++level) {
    const std::size_t source = (level * size(features.tokens) + size(from)) * hidden;
    const std::size_t target = (level * size(rows_) * size(chunk_) + token) * hidden;
    prefill_.deepstack.view(target, part).copy_from(features.deepstack.view(source, part));
  }
}

std::span<const float> DecoderGraph::logits(int row, int index) const {
  return {logits_of_[size(row)] + size(index) * size(config_.vocab), size(config_.vocab)};
}

}  // namespace irt
