#include "models/decoder_graph.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "tensor/contract.h"

namespace irt {
namespace {

constexpr int kMinChunk = 2;  // see begin_prefill

[[nodiscard]] std::size_t size(int value) noexcept { return static_cast<std::size_t>(value); }

[[nodiscard]] std::string name_of(const char* stem, int layer) {
  return std::string(stem) + "." + std::to_string(layer);
}

// Graphs may leave a dimension open; one that they fix must be the configuration's.
void check_dim(const std::vector<TensorInfo>& tensors, const std::string& name, std::size_t axis,
               std::int64_t expected, const std::string& path) {
  for (const TensorInfo& tensor : tensors) {
    if (tensor.name != name) continue;
    const std::int64_t found = axis < tensor.shape.size() ? tensor.shape[axis] : 0;
    if (found == -1 || found == expected) return;
    throw Error(ErrorCode::kBadPack, "[DecoderGraph] " + path + ": dimension " +
                                         std::to_string(axis) + " of " + name + " is " +
                                         std::to_string(found) + ", the manifest says " +
                                         std::to_string(expected) + ": export the pack again");
  }
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

DecoderGraph::Staging::Staging(const DecoderConfig& config, int capacity)
    : ids(size(config.slots) * size(capacity)),
      positions(3 * ids.size()),
      past(size(config.slots)),
      last(size(config.slots)),
      visual(ids.size() * size(config.hidden)),
      deepstack(std::max(std::size_t{1}, visual.size() * size(config.deepstack_levels))) {}

DecoderGraph::DecoderGraph(const std::string& path, const DecoderConfig& config,
                           const SessionOptions& options)
    : config_(checked(config)),
      session_(path, options),
      cache_({config.layers, config.slots, config.kv_heads, config.cache_length, config.head_dim}),
      decode_(config, 1),
      prefill_(config, std::max(kMinChunk, std::min(config.prefill_chunk, config.cache_length))),
      token_positions_(size(config.slots)),
      decode_past_(size(config.slots)),
      logits_(size(config.slots) * size(config.vocab)) {
  check(path);
  if (!config_.decode_graph.empty()) {
    decode_session_.emplace(config_.decode_graph, options);
    check_decode(config_.decode_graph);
    begin_prefill(0, 1, kMinChunk).run();
  }
  // ONNX Runtime plans memory for the first shape that it sees: let it be the commonest, one row
  // and one token (about 10 % of such a step). A graph that cannot run shows here as well.
  set_token(0, 0, 0, 0);
  decode(0, 1).run();
  cache_.clear(0, 0, kMinChunk);
}

void DecoderGraph::check(const std::string& path) const {
  for (const char* name :
       {"input_ids", "position_ids", "past_len", "last_index", "visual_embeds", "deepstack"}) {
    session_.require_input(name);
  }
  session_.require_output("logits");
  check_dim(session_.inputs(), "visual_embeds", 2, config_.hidden, path);
  check_dim(session_.inputs(), "deepstack", 0, config_.deepstack_levels, path);
  check_dim(session_.outputs(), "logits", 1, config_.vocab, path);
  for (int layer = 0; layer < config_.layers; ++layer) {
    for (const char* stem : {"past_k", "past_v"}) {
      const std::string name = name_of(stem, layer);
      session_.require_input(name);
      check_dim(session_.inputs(), name, 1, config_.kv_heads, path);
      check_dim(session_.inputs(), name, 2, config_.cache_length, path);
      check_dim(session_.inputs(), name, 3, config_.head_dim, path);
    }
    session_.require_output(name_of("present_k", layer));
    session_.require_output(name_of("present_v", layer));
  }
  const std::size_t expected = 6 + 2 * size(config_.layers);
  if (session_.inputs().size() == expected) return;
  throw Error(ErrorCode::kBadPack, "[DecoderGraph] " + path + ": the graph has " +
                                       std::to_string(session_.inputs().size()) +
                                       " inputs, the contract " + std::to_string(expected) +
                                       ": does the manifest's layer count fit the graph?");
}

void DecoderGraph::check_decode(const std::string& path) const {
  const Session& session = *decode_session_;
  require_input(session, path, "input_ids", ElementType::kInt64, {kAny, 1});
  require_input(session, path, "position_ids", ElementType::kInt64, {kAny, 1});
  require_input(session, path, "past_len", ElementType::kInt32, {kAny});
  require_input(session, path, "total_length", ElementType::kInt32, {});
  require_output(session, path, "logits", ElementType::kFloat32, {kAny, 1, config_.vocab});
  const std::initializer_list<std::int64_t> cache = {kAny, config_.kv_heads, config_.cache_length,
                                                     config_.head_dim};
  for (int layer = 0; layer < config_.layers; ++layer) {
    for (const char* kind : {"k", "v"}) {
      const auto name = [&](const char* stem) {
        return name_of((stem + std::string(kind)).c_str(), layer);
      };
      require_input(session, path, name("past_"), ElementType::kFloat32, cache);
      require_output(session, path, name("present_"), ElementType::kFloat32, cache);
    }
  }
  const std::size_t expected = 4 + 2 * size(config_.layers);
  if (session.inputs().size() == expected) return;
  throw Error(ErrorCode::kBadPack, "[DecoderGraph] " + path + ": the decode graph has " +
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
    // One value as past and present: the graph updates the cache in place.
    const Value keys = cache_.keys(layer, first, rows);
    const Value values = cache_.values(layer, first, rows);
    made->run.bind_input(name_of("past_k", layer), keys);
    made->run.bind_input(name_of("past_v", layer), values);
    made->run.bind_output(name_of("present_k", layer), keys);
    made->run.bind_output(name_of("present_v", layer), values);
  }
  std::vector<std::int64_t> shape{rows, config_.vocab};
  if (&session != &session_) shape.insert(shape.begin() + 1, 1);  // one token
  const auto logits = std::span(logits_).subspan(size(first) * size(config_.vocab),
                                                 size(rows) * size(config_.vocab));
  made->run.bind_output("logits", Value::wrap(logits, shape));
  return *ranges.emplace(key, std::move(made)).first->second;
}

void DecoderGraph::bind_inputs(Bound& bound, Staging& staging, int offset, int rows, int chunk) {
  if (bound.chunk == chunk) return;
  bound.chunk = 0;
  const std::size_t tokens = size(rows) * size(chunk);
  const std::size_t floats = tokens * size(config_.hidden);
  const auto bind = [&](const char* name, auto& memory, std::size_t first, std::size_t count,
                        std::initializer_list<std::int64_t> shape) {
    const auto part = std::span(memory).subspan(first, count);
    bound.run.bind_input(name, Value::wrap(part, {shape.begin(), shape.size()}));
  };
  bind("input_ids", staging.ids, size(offset), tokens, {rows, chunk});
  bind("position_ids", staging.positions, 0, 3 * tokens, {3, rows, chunk});
  bind("past_len", staging.past, size(offset), size(rows), {rows});
  bind("last_index", staging.last, size(offset), size(rows), {rows});
  bind("visual_embeds", staging.visual, 0, floats, {rows, chunk, config_.hidden});
  bind("deepstack", staging.deepstack, 0, floats * size(config_.deepstack_levels),
       {config_.deepstack_levels, rows, chunk, config_.hidden});
  bound.chunk = chunk;
}

// ---- decode -------------------------------------------------------------------------------

void DecoderGraph::set_token(int row, std::int64_t id, std::int64_t position,
                             std::int64_t past) noexcept {
  decode_.ids[size(row)] = id;
  decode_.past[size(row)] = past;
  token_positions_[size(row)] = position;
}

Run& DecoderGraph::decode(int first, int rows) {
  if (decode_session_) return decode_fused(first, rows);
  for (int axis = 0; axis < 3; ++axis) {
    std::copy_n(token_positions_.begin() + first, rows, decode_.positions.begin() + axis * rows);
  }
  Bound& range = bound(session_, decode_ranges_, first, rows);
  bind_inputs(range, decode_, first, rows, 1);
  return range.run;
}

Run& DecoderGraph::decode_fused(int first, int rows) {
  const std::size_t begin = size(first);
  const std::size_t count = size(rows);
  std::int64_t longest = 0;
  for (std::size_t row = begin; row < begin + count; ++row) {
    decode_past_[row] = static_cast<std::int32_t>(decode_.past[row]);
    longest = std::max(longest, decode_.past[row]);
  }
  total_length_ = static_cast<std::int32_t>(longest + 1);
  Bound& range = bound(*decode_session_, decode_ranges_, first, rows);
  if (range.chunk == 1) return range.run;
  const std::array<std::int64_t, 2> tokens{rows, 1};
  const std::array<std::int64_t, 1> one_each{rows};
  Run& run = range.run;
  run.bind_input("input_ids", Value::wrap(std::span(decode_.ids).subspan(begin, count), tokens));
  run.bind_input("position_ids",
                 Value::wrap(std::span(token_positions_).subspan(begin, count), tokens));
  run.bind_input("past_len", Value::wrap(ElementType::kInt32, decode_past_.data() + first,
                                         count * sizeof(std::int32_t), one_each));
  run.bind_input("total_length",
                 Value::wrap(ElementType::kInt32, &total_length_, sizeof total_length_, {}));
  range.chunk = 1;
  return run;
}

// ---- prefill ------------------------------------------------------------------------------

Run& DecoderGraph::begin_prefill(int first, int rows, int chunk) {
  if (images_staged_) {
    // Text reads zeros; only the region of the last run can hold anything else.
    const std::size_t floats = size(rows_) * size(chunk_) * size(config_.hidden);
    std::fill_n(prefill_.visual.begin(), floats, 0.0F);
    std::fill_n(prefill_.deepstack.begin(), floats * size(config_.deepstack_levels), 0.0F);
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

void DecoderGraph::set_row(int row, const RowInput& input) noexcept {
  const std::size_t index = size(row - first_);
  const auto at = static_cast<std::ptrdiff_t>(index * size(chunk_));
  const auto stream = static_cast<std::ptrdiff_t>(size(rows_) * size(chunk_));
  // Padding repeats the last token: what it writes lies behind the row's length.
  const auto fill = [&](const std::int64_t* from, std::vector<std::int64_t>& to,
                        std::ptrdiff_t first) {
    const auto end = std::copy_n(from, tokens_, to.begin() + first);
    std::fill_n(end, chunk_ - tokens_, from[tokens_ - 1]);
  };
  fill(input.ids.data(), prefill_.ids, at);
  fill(input.time, prefill_.positions, at);
  fill(input.height, prefill_.positions, at + stream);
  fill(input.width, prefill_.positions, at + 2 * stream);
  prefill_.past[index] = input.past;
  prefill_.last[index] = tokens_ - 1;
}

void DecoderGraph::set_image(int row, int at, const VisionFeatures& features, int from,
                             int count) noexcept {
  images_staged_ = true;
  const std::size_t hidden = size(config_.hidden);
  const std::size_t token = size(row - first_) * size(chunk_) + size(at);
  const std::size_t floats = size(count) * hidden;
  std::copy_n(features.embeds.data() + size(from) * hidden, floats,
              prefill_.visual.data() + token * hidden);
  for (std::size_t level = 0; level < size(config_.deepstack_levels); ++level) {
    const std::size_t source = (level * size(features.tokens) + size(from)) * hidden;
    const std::size_t target = (level * size(rows_) * size(chunk_) + token) * hidden;
    std::copy_n(features.deepstack.data() + source, floats, prefill_.deepstack.data() + target);
  }
}

std::span<const float> DecoderGraph::logits(int row) const noexcept {
  return std::span(logits_).subspan(size(row) * size(config_.vocab), size(config_.vocab));
}

}  // namespace irt
