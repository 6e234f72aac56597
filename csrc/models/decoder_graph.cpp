#include "models/decoder_graph.h"

#include <algorithm>

#include "core/error.h"

namespace irt {
namespace {

constexpr int kMinChunk = 2;  // see begin_prefill

[[nodiscard]] std::size_t size(int value) noexcept { return static_cast<std::size_t>(value); }

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

DecoderGraph::Staging::Staging(const DecoderConfig& config, int capacity, const DeviceRef& device)
    : ids(ElementType::kInt64, {config.slots, capacity}),
      positions(ElementType::kInt64, {3, config.slots, capacity}),
      past(ElementType::kInt64, {config.slots}),
      last(ElementType::kInt64, {config.slots}),
      visual(ElementType::kFloat32, {config.slots, capacity, config.hidden}, device),
      deepstack(ElementType::kFloat32,
                {std::max(1, config.deepstack_levels), config.slots, capacity, config.hidden},
                device) {
  for (const Tensor* tensor : {&ids, &positions, &past, &last, &visual, &deepstack}) tensor->zero();
}

DecoderGraph::DecoderGraph(const std::string& path, const DecoderConfig& config,
                           const SessionOptions& options)
    : config_(checked(config)),
      session_(path, options),
      cache_({config.layers, config.slots, config.kv_heads, config.cache_length, config.head_dim},
             cache_type(), session_.device()),
      decode_(config, 1, session_.device()),
      prefill_(config, std::max(kMinChunk, std::min(config.prefill_chunk, config.cache_length)),
               session_.device()),
      token_positions_(size(config.slots)),
      logits_(ElementType::kFloat32, {config.slots, config.vocab}) {
  check();
  if (!config_.decode_graph.empty()) {
    decode_session_.emplace(config_.decode_graph, options);
    check_decode();
    fused_positions_ = Tensor(ElementType::kInt64, {config.slots});
    fused_past_ = Tensor(ElementType::kInt32, {config.slots});
    total_length_ = Tensor(ElementType::kInt32, {});
    begin_prefill(0, 1, kMinChunk).run();
  }
  // ONNX Runtime plans memory for the first shape that it sees: let it be the commonest, one row
  // and one token (about 10 % of such a step). A graph that cannot run shows here as well.
  set_token(0, 0, 0, 0);
  decode(0, 1).run();
  cache_.clear(0, 0, kMinChunk);
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
  session_.require_input("last_index", ElementType::kInt64, {kAny});
  session_.require_input("visual_embeds", ElementType::kFloat32, {kAny, kAny, hidden});
  session_.require_input("deepstack", ElementType::kFloat32,
                         {config_.deepstack_levels, kAny, kAny, hidden});
  session_.require_output("logits", ElementType::kFloat32, {kAny, config_.vocab});
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

DecoderGraph::Bound& DecoderGraph::bound(const Session& session, Ranges& ranges, int first,
                                         int rows) {
  const auto key = std::make_pair(first, rows);
  if (const auto found = ranges.find(key); found != ranges.end()) return *found->second;
  if (ranges.size() >= 4 * size(config_.slots)) ranges.clear();
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
  Shape shape{rows, config_.vocab};
  if (&session != &session_) shape.insert(shape.begin() + 1, 1);  // one token
  made->run.bind_output("logits", logits_.view(size(first) * size(config_.vocab), shape));
  return *ranges.emplace(key, std::move(made)).first->second;
}

void DecoderGraph::bind_inputs(Bound& bound, const Staging& staging, int offset, int rows,
                               int chunk) {
  if (bound.chunk == chunk) return;
  bound.chunk = 0;
  Run& run = bound.run;
  const std::int64_t hidden = config_.hidden;
  run.bind_input("input_ids", staging.ids.view(size(offset), {rows, chunk}));
  run.bind_input("position_ids", staging.positions.view(0, {3, rows, chunk}));
  run.bind_input("past_len", staging.past.view(size(offset), {rows}));
  run.bind_input("last_index", staging.last.view(size(offset), {rows}));
  run.bind_input("visual_embeds", staging.visual.view(0, {rows, chunk, hidden}));
  run.bind_input("deepstack",
                 staging.deepstack.view(0, {config_.deepstack_levels, rows, chunk, hidden}));
  bound.chunk = chunk;
}

// ---- decode -------------------------------------------------------------------------------

void DecoderGraph::set_token(int row, std::int64_t id, std::int64_t position, std::int64_t past) {
  decode_.ids.as<std::int64_t>()[size(row)] = id;
  decode_.past.as<std::int64_t>()[size(row)] = past;
  token_positions_[size(row)] = position;
}

Run& DecoderGraph::decode(int first, int rows) {
  if (decode_session_) return decode_fused(first, rows);
  for (int axis = 0; axis < 3; ++axis) {
    std::copy_n(token_positions_.begin() + first, rows,
                decode_.positions.as<std::int64_t>().begin() + axis * rows);
  }
  Bound& range = bound(session_, decode_ranges_, first, rows);
  bind_inputs(range, decode_, first, rows, 1);
  return range.run;
}

Run& DecoderGraph::decode_fused(int first, int rows) {
  const std::size_t begin = size(first);
  const std::span past = decode_.past.as<std::int64_t>().subspan(begin, size(rows));
  std::ranges::transform(past, fused_past_.as<std::int32_t>().begin() + first,
                         [](std::int64_t tokens) { return static_cast<std::int32_t>(tokens); });
  std::ranges::copy(token_positions_, fused_positions_.as<std::int64_t>().begin());
  total_length_.as<std::int32_t>()[0] =
      static_cast<std::int32_t>(*std::ranges::max_element(past) + 1);
  Bound& range = bound(*decode_session_, decode_ranges_, first, rows);
  if (range.chunk == 1) return range.run;
  Run& run = range.run;
  run.bind_input("input_ids", decode_.ids.view(begin, {rows, 1}));
  run.bind_input("position_ids", fused_positions_.view(begin, {rows, 1}));
  run.bind_input("past_len", fused_past_.view(begin, {rows}));
  run.bind_input("total_length", total_length_);
  range.chunk = 1;
  return run;
}

// ---- prefill ------------------------------------------------------------------------------

Run& DecoderGraph::begin_prefill(int first, int rows, int chunk) {
  if (images_staged_) {
    // Text reads zeros; only the region of the last run can hold anything else.
    prefill_.visual.view(0, {rows_, chunk_, config_.hidden}).zero();
    prefill_.deepstack.view(0, {config_.deepstack_levels, rows_, chunk_, config_.hidden}).zero();
    images_staged_ = false;
  }
  first_ = first;
  rows_ = rows;
  tokens_ = chunk;
  chunk_ = std::max(kMinChunk, chunk);
  Bound& range = bound(session_, prefill_ranges_, first, rows);
  bind_inputs(range, prefill_, 0, rows, chunk_);
  return range.run;
}

void DecoderGraph::set_row(int row, const std::int64_t* ids, const std::int64_t* positions,
                           int stride, int past) {
  const std::size_t index = size(row - first_);
  const auto at = static_cast<std::ptrdiff_t>(index * size(chunk_));
  const auto stream = static_cast<std::ptrdiff_t>(size(rows_) * size(chunk_));
  // Padding repeats the last token: what it writes lies behind the row's length.
  const auto fill = [&](const std::int64_t* from, const Tensor& to, std::ptrdiff_t first) {
    const auto end = std::copy_n(from, tokens_, to.as<std::int64_t>().begin() + first);
    std::fill_n(end, chunk_ - tokens_, from[tokens_ - 1]);
  };
  fill(ids, prefill_.ids, at);
  for (int axis = 0; axis < 3; ++axis) {
    fill(positions + axis * stride, prefill_.positions, at + axis * stream);
  }
  prefill_.past.as<std::int64_t>()[index] = past;
  prefill_.last.as<std::int64_t>()[index] = tokens_ - 1;
}

void DecoderGraph::set_image(int row, int at, const VisionFeatures& features, int from, int count) {
  images_staged_ = true;
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

std::span<const float> DecoderGraph::logits(int row) const {
  return logits_.as<float>().subspan(size(row) * size(config_.vocab), size(config_.vocab));
}

}  // namespace irt
