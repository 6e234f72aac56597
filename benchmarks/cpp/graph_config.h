// What the decoder benchmarks read from a graph.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "tensor/session.h"

inline const irt::TensorInfo& find_tensor(const std::vector<irt::TensorInfo>& tensors,
                                          const std::string& name) {
  const auto same = [&](const irt::TensorInfo& tensor) { return tensor.name == name; };
  const auto found = std::find_if(tensors.begin(), tensors.end(), same);
  if (found != tensors.end()) return *found;
  std::fprintf(stderr, "the graph has no %s\n", name.c_str());
  std::exit(1);
}

// The sizes that the graph itself tells.
inline irt::DecoderConfig config_of(const irt::Session& session, int slots, int length) {
  const auto dim = [](const irt::TensorInfo& tensor, std::size_t axis) {
    return static_cast<int>(tensor.shape[axis]);
  };
  irt::DecoderConfig config;
  config.hidden = dim(find_tensor(session.inputs(), "visual_embeds"), 2);
  config.deepstack_levels = dim(find_tensor(session.inputs(), "deepstack"), 0);
  config.layers = static_cast<int>(session.outputs().size() - 1) / 2;
  const irt::TensorInfo& keys = find_tensor(session.inputs(), "past_k.0");
  config.kv_heads = dim(keys, 1);
  config.cache_length = dim(keys, 2) > 0 ? dim(keys, 2) : length;
  config.head_dim = dim(keys, 3);
  config.vocab = static_cast<int>(find_tensor(session.outputs(), "logits").shape.back());
  config.slots = slots;
  // Written graphs take prompts row by row; they tell the logits of one token of a row.
  if (find_tensor(session.inputs(), "last_index").shape.size() == 1) config.prefill_rows = 1;
  return config;
}
