"""The Question, the Deployment and the Answer, which every door of assay shares."""
