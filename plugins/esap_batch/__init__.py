"""The domain of esap-batch: pure Python, no Airflow, no network."""
