/** The operators of ai.onnx.ml (onnx/docs/Operators-ml.md): trees, linear models, feature maps. Types come from value_info. */
import { defineOp, type OpSpec } from "../op.js";

const BARRIER = "models of ai.onnx.ml hold their parameters in attributes, which are not looked into";

function traditional(
  type: string,
  since: readonly number[],
  inputs: readonly string[],
  outputs: readonly string[],
  until?: number,
): OpSpec {
  return defineOp({ type, domain: "ai.onnx.ml", since, inputs, outputs, barrier: BARRIER, ...(until ? { until } : {}) });
}

export const specs: readonly OpSpec[] = [
  traditional("ArrayFeatureExtractor", [1], ["X", "Y"], ["Z"]),
  traditional("Binarizer", [1], ["X"], ["Y"]),
  traditional("CastMap", [1], ["X"], ["Y"]),
  traditional("CategoryMapper", [1], ["X"], ["Y"]),
  traditional("DictVectorizer", [1], ["X"], ["Y"]),
  traditional("FeatureVectorizer", [1], ["X..."], ["Y"]),
  traditional("Imputer", [1], ["X"], ["Y"]),
  traditional("LabelEncoder", [1, 2, 4], ["X"], ["Y"]),
  traditional("LinearClassifier", [1], ["X"], ["Y", "Z"]),
  traditional("LinearRegressor", [1], ["X"], ["Y"]),
  traditional("Normalizer", [1], ["X"], ["Y"]),
  traditional("OneHotEncoder", [1], ["X"], ["Y"]),
  traditional("SVMClassifier", [1], ["X"], ["Y", "Z"]),
  traditional("SVMRegressor", [1], ["X"], ["Y"]),
  traditional("Scaler", [1], ["X"], ["Y"]),
  traditional("TreeEnsemble", [5], ["X"], ["Y"]),
  traditional("TreeEnsembleClassifier", [1, 3], ["X"], ["Y", "Z"], 5),
  traditional("TreeEnsembleRegressor", [1, 3], ["X"], ["Y"], 5),
  traditional("ZipMap", [1], ["X"], ["Z"]),
];
